// Package service decides what a node does for Services: Services and
// EndpointSlices go in, a Decision for each Service comes out, in types that say
// nothing of iptables or nftables. It is pure and deterministic.
//
// Decide looks at one Service alone, so that a change costs what it is about.
// Its Decision has a Port for each port and address family of the Service: which
// addresses lead to it, and which endpoints answer whom:
//
//	Internal: who connects to a cluster IP                     (internalTrafficPolicy)
//	External: who comes from outside of the cluster to a node
//	          port, external IP or address of a load balancer  (externalTrafficPolicy)
//	Cluster:  the cluster's own pods and this node, at the same
//	          addresses: externalTrafficPolicy does not bind them
//
// Endpoints are chosen as kube-proxy does: those that are ready, of these the
// ones that hints of the slices give to this node or its zone; if none is ready,
// those that are terminating but still serve; where a policy says Local, of this
// node's.
package service
