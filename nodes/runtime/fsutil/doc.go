// Package fsutil contains helpers for files and mounts that the rooms of the
// runtime share.
package fsutil
