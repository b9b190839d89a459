// Package policy has the kernel of a node keep to NetworkPolicies. What they mean for
// the node's pods the server tells (manifests/nodepolicy).
//
//	server ── stream ──▶ Agent ── State, addresses of pods ──▶ Rules ──▶ nft
//	                       ▲
//	workers ── InForce ────┘ before the first container of a pod
//
// Packets that are forwarded pass the table "inet headway-policy":
//
//	forward ─▶ from a node's own program, or to itself: pass
//	        ─▶ map egress:  source of the connection      ─▶ chain of its profile ─▶ pass or drop
//	        ─▶ map ingress: destination of the connection ─▶ chain of its profile ─▶ pass or drop
//
// All of it asks for the addresses of the connection, as it was opened and after it was
// led to an endpoint, and not for those of the packet: so packets of both directions
// are judged alike, and a connection that a policy forbids ends with the next packet,
// whoever sends it. Errors about a connection (ICMP) pass; packets that belong to none
// do not, from and to isolated pods.
//
// The table "bridge headway-guard" lets pods send by their own addresses only, because
// policies are about addresses, and IPv6 to the node alone, which routes it.
//
// Where pods have IPv6 addresses, each set and map has a second one for those, with a 6
// behind its name, and a profile has rules for both.
//
// Each change is one transaction per table, of what differs. The tables stay in the
// kernel when the agent ends; the first change of the next one replaces them as a whole.
package policy
