// Package reserve keeps blocks of the disk for the store's file, so that a disk
// that something else fills still accepts deletions and changes.
package reserve
