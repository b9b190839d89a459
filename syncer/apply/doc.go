// Package apply makes the cluster what Git declares: it follows each Kustomization in
// a loop that observes, asks package step what to do, and does it; and applies
// a head to all Kustomizations of its source in one transaction where it can.
package apply
