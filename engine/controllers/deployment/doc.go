// Package deployment rolls Deployments out through ReplicaSets.
//
// Decide is the pure core: it takes a Deployment, its ReplicaSets, which of
// them still have pods, and the time, and returns a Plan. The plan is one
// transaction: a rollout's step up and its step down go together, as the
// step down is computed from the sizes after the step up.
//
//	Decide: newest set ─▶ revision ─▶ paused or resized? ─▶ resize in proportion
//	                                  Recreate           ─▶ all down, then up
//	                                  RollingUpdate      ─▶ up, unhealthy down, down
//	        ─▶ history ─▶ conditions and counts
//
// What a rolling update never does: ask for more than replicas+maxSurge pods,
// or let go of pods so that fewer than replicas-maxUnavailable are available.
// A set's available pods are counted as at most its size, and not at all as
// long as it has not reported on its newest size: what has not followed yet
// would otherwise be counted on twice.
package deployment
