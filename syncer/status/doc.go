// Package status has the changes that the loop of a Kustomization makes to its status
// (who suspended it is written by package editors, for sources, too), so that what its conditions mean stands in one place: they are
// what users read, what other Kustomizations wait for, and what a restart takes up.
// It is pure: edits are values that the caller puts into its transaction.
package status
