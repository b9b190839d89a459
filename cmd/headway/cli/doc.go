// Package cli contains what Headway's commands have in common: the flags of all
// commands, the client of a cluster, output formats, exit codes and completion.
package cli
