// Package cli has what Headway's commands are made of: the flags that all have, the
// client of a cluster, output formats, exit codes and completion.
package cli
