// Package job runs the pods of Jobs until enough of them have succeeded, and
// removes Jobs that have finished for long enough.
//
// Decide is the pure core: what a Job's status and pods become. Everything that
// it says is one transaction, so that a pod is let go (its finalizer
// batch.kubernetes.io/job-tracking is removed) in the very write that counts it:
// wherever the server ends, no success is lost and none is counted twice.
//
//	Job + Pods ─▶ Decide ─▶ Plan: status, pods to release, delete and create ─▶ one transaction
//
// Pods that others put into status.uncountedTerminatedPods (a cluster that came
// from Kubernetes) are counted with the first write.
package job
