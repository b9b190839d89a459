// Package gitops contains the commands about what a cluster gets from Git: its
// status and history, syncs and rollbacks.
package gitops
