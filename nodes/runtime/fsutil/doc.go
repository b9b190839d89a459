// Package fsutil has what the rooms of the runtime do with files and mounts.
package fsutil
