// Package node looks after nodes: whether they are alive, what that means for
// the pods on them, and their pod addresses. It has four controllers:
//
//	node-lifecycle        heartbeat (Lease) ─▶ Ready Unknown ─▶ taints; pods not ready
//	taint-eviction        NoExecute taints ─▶ pods deleted when they no longer tolerate them
//	node-ipam             a part of the cluster CIDR for each node
//	pod-garbage-collector pods of nodes that are gone, ended pods beyond a number
//
// Health, Taints, Zones and Evict are the pure cores. A node's heartbeat counts from
// when it was seen, by the clock of this process, so that a node's clock that
// is wrong does no harm, and a server that was down, or stood still (Pulse),
// gives every node a whole grace period. What counts is what is stored when the
// verdict is written: of heartbeats the controllers may be told late.
package node
