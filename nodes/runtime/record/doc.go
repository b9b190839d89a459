// Package record keeps what the next process must know of containers: labels in
// containerd's store, starts and exits in files.
package record
