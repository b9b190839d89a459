// Package record has what is kept of containers for the next process: labels in
// containerd's store, starts and exits in files.
package record
