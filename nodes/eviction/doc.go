// Package eviction evicts pods when the disk is short of space, as the kubelet
// does.
package eviction
