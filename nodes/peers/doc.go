// Package peers makes the pods of other nodes reachable from this one: for each node's
// range of pod addresses there is a route, straight to the node where it is on the same
// link, and through a VXLAN tunnel where there are routers in between, which know nothing
// of pods.
//
//	peers.go  which nodes there are, and when to look
//	plan.go   pure: nodes ─▶ the routes, neighbours and tunnels that there should be
//	apply.go  the kernel's routes become those
//
// Nodes need to tell each other nothing but their Node objects: the tunnel's link-layer
// address of a node is made from its address.
package peers
