// Package reserve keeps blocks of the disk for the store's file, so that a disk
// that somebody else fills still takes deletions and changes.
package reserve
