// Package policy tells each node what NetworkPolicies mean for its pods: which of them
// are isolated, what may pass, and which addresses the peers have
// (manifests/nodepolicy). Nodes may not list the pods of others, and need not: a node
// gets what its own pods' policies name, and what changes in it.
//
//	store ── events ──▶ Index ── what is dirty ──▶ View of a node ── Next ──▶ stream
//
// [Index] is pure: it follows events and keeps, for each pod, the profiles that its
// labels lead to, and for each selector that a profile names, the group of its
// members. Selectors are indexed by the namespaces that they match, so that a change of
// one pod looks at the selectors of its namespace and touches the groups that it is
// in. [View] remembers what one node has to be told, and not how often it changed: a
// node that reads slowly gets the last state.
//
// Concurrency: an Index and its Views share one mutex, under which nothing waits.
package policy
