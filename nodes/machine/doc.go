// Package machine tells what this machine is and has, and reads files that containers
// may have to do with.
package machine
