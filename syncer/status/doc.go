// Package status has the changes that the syncer makes to statuses, so that what
// their conditions mean stands in one place: they are what users read, what other
// Kustomizations wait for, and what a restart takes up. It is pure: edits are values
// that the caller puts into its transaction.
package status
