// Package fault contains the errors of the syncer's work: each with the reason
// that the condition of a status gives for it, including faults of manifests,
// and errors made from panics.
package fault
