// Package daemonset runs a pod of each DaemonSet on the nodes that it is for.
//
// newMatcher tells which those are, Decide what to do about their pods, and StatusOf
// what to say of them; they touch nothing. The templates that a set had are kept by
// package history. What nodes are to a set is remembered for as long as neither changes,
// so that a look for the sake of one pod judges no node anew.
//
//	node or pod ─▶ keys ─▶ reconcile: history ─▶ Decide ─▶ one transaction of pods and status
package daemonset
