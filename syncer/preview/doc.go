// Package preview makes the plan of what is not applied yet: what a commit, or a
// set of files, would change, and what differs between two commits.
//
// Key types, in reading order: [Previewer] with [Previewer.Plan] and
// [Previewer.Diff], [Loops], what it needs of those that follow Kustomizations,
// then planning, the making of one answer, and planned, one Kustomization in it.
package preview
