// Package tasks starts, signals and deletes the processes of containers through
// containerd, and removes what interrupted starts have left.
package tasks
