// Package hollow runs many nodes in one process that pretend to run pods. Towards
// the API each of them behaves as an agent does, with the agent's own code: it
// registers, renews its lease, keeps its status, follows itself and the pods bound
// to it, and writes their statuses; what happens to a pod is decided by package pod.
// Only the machine below is missing: containers are entries in memory. They start
// at once, their probes succeed, and those of pods that are not always restarted
// come to an end by themselves. No pod is rejected: what the scheduler binds fits. Volumes of claims have no directories: to remove one is
// to say so.
//
// Shared by all nodes of a [Fleet] are the watches, unless each is to have its own,
// the moments at which leases are renewed, the queue of pods to look at, the writer of
// statuses, and the watch of volumes.
//
//	API ──watch──▶ feed ──▶ node (one for each) ──▶ Fleet.pods ──▶ Fleet.keys
//	                                                                  │ pod.Decide ─▶ steps ─▶ runtime.Pod in memory
//	                                                                  └▶ status ─▶ status.Writer ─patch──▶ API
package hollow
