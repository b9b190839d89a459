// Package health tells whether an object has reached what its spec asks for,
// as kstatus and kubectl rollout status define it, and if not, why: for a
// workload the reason is taken from its pods (image cannot be pulled, no node
// fits, probe fails, crash loop).
//
// Of is a function of what the Reader gives. A pod's trouble never makes its
// workload Failed: most of it can mend by itself (a registry comes back, a
// missing Secret arrives), so the workload stays InProgress with the reason
// until its progress deadline, or the timeout of who asks, decides.
package health
