// Package tasks starts, signals and deletes the processes of containers through
// containerd, and removes what starts that were cut off have left.
package tasks
