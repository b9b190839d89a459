// Package plan decides what a commit does to the cluster: from the objects
// that Git wants, the stored ones and the inventory of what was applied
// before to an ordered list of actions with field-level differences. It reads
// and returns data, and writes nothing.
//
// Key types, in reading order: [Input], [Planner], [Result], [Action].
//
//	items ──▶ label, namespace ──▶ server-side apply onto the stored object
//	      ──▶ defaults ──▶ validation ──▶ difference ──▶ Create | Update | Unchanged
//	inventory − items ──▶ Delete, unless pruning is off for it
//
// The meaning is that of a server-side apply by the manager "headway" with
// force: fields that Git sets are Git's and come back after a change by hand,
// fields that others set are left alone, and what Git stops setting goes.
//
// A Planner remembers what it found unchanged, so that planning again costs a
// map lookup per object that neither Git nor the cluster changed. Every
// Kustomization has its own. It may be asked, and forked for a plan, while its
// loop uses it.
package plan
