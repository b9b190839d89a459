// Package step decides what the loop of a Kustomization does next. It is pure: the
// loop observes, asks, and carries out the answer.
package step
