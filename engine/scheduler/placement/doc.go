// Package placement decides on which node a pod runs. It is pure: a Snapshot
// holds the nodes and what their pods take, and is changed by its caller only.
//
//	Snapshot + Pod ──▶ filter each node ──▶ score those that are left ──▶ Pick
//	                        └──▶ reasons ──▶ Explain, Failure.Message
//
// A node is filtered by, in this order: spec.unschedulable, spec.nodeName,
// taints, node selector and affinity, host ports, and resources (CPU, memory,
// ephemeral storage, extended ones and the number of pods). It is scored by
// free resources, by the balance of CPU and memory, by how many pods of the
// same controller it has, by preferred affinity, and by taints with
// PreferNoSchedule, with the weights of Kubernetes' default scheduler. The
// words of the reasons are Kubernetes' own.
//
// Simulate plays through what a change would do to the pods of workloads, and
// tells which of the new ones would get a node.
//
// A Snapshot is not safe for concurrent use.
package placement
