// Package statefulset runs the pods of StatefulSets, each of which has a number, and with
// it a name that it keeps.
//
// Decide says what to do about the pods and what of the set to tell; it touches nothing.
// The templates that a set had are kept by package history.
//
// With volumeClaimTemplates each number has claims, too, which outlive the pod; owners
// says who owns them, and so when the garbage collector deletes them.
//
//	pod, claim ─▶ keys ─▶ reconcile: history ─▶ Decide ─▶ one transaction of claims, pods and status
package statefulset
