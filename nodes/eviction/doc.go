// Package eviction evicts pods for the sake of the disk, as the kubelet does.
package eviction
