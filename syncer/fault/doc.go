// Package fault has the errors of the syncer's work: each with the reason that the
// condition of a status gives for it, faults of manifests among them, and what
// becomes of a panic.
package fault
