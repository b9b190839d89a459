// Package placement decides on which node a pod runs. It is pure: a Snapshot
// holds the nodes and what their pods take, and is changed by its caller only.
//
//	Snapshot + Pod ──▶ cycle ──▶ filter nodes ──▶ score those that are left ──▶ Pick
//	                                └──▶ reasons ──▶ Failure ──▶ Preempt
//
// A node is filtered by, in this order: spec.unschedulable, spec.nodeName,
// taints, node selector and affinity, host ports, resources (CPU, memory,
// ephemeral storage, extended ones and the number of pods), volumes of claims (those
// that are bound, and those that can be had), topology spread, and affinity between
// pods. It is scored by free resources, by the balance of CPU
// and memory, by spread, by preferred affinity to nodes and pods, by taints with
// PreferNoSchedule and by the images it has. The profile of the pod says which of the
// filters and scores there are, and what they weigh: those of Kubernetes' default
// scheduler if nobody says anything. The words of the reasons are Kubernetes' own.
//
// Nothing walks over all pods to place one. A tally counts the pods that match a
// selector, for each node and each value of a node label; a carrier counts the
// pods that have a term of affinity. Both are brought up to date when a pod or
// node comes, goes or changes, so that a filter reads one number. What only
// depends on the node's object and the pod's template (static) is worked out once
// for each of both. What nodes say to pods that are alike, rules between pods apart,
// is kept with how many say what (standing): only nodes that changed are asked again.
//
// Preempt finds the pods that would have to leave. It takes pods off the
// snapshot and puts them back, which costs as much as the pods that it touches, or
// does so on paper if only resources matter.
//
// Explain and Obstacles tell people what each node says about a pod, and what would
// have to be otherwise.
//
// match has the rules between pods, profile what a KubeSchedulerConfiguration says.
//
// A Snapshot is not safe for concurrent use.
package placement
