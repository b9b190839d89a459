// Package gitops has the commands that follow what a cluster takes from Git: its
// status and history, syncs and rollbacks.
package gitops
