// Package rules decides what the service proxy puts into iptables: services
// and endpoint slices go in, chains come out. It is pure and deterministic.
//
// A new connection takes this way through the nat table:
//
//	PREROUTING, OUTPUT ─▶ HEADWAY-SERVICES ── cluster IP and port ──▶ HEADWAY-SVC-x ─▶ DNAT
//	                   └▶ HEADWAY-NODEPORTS ── node port ─▶ HEADWAY-EXT-x ─▶ mark, ─┘ or DNAT to a local endpoint
//	POSTROUTING ─▶ HEADWAY-POSTROUTING: masquerade what is marked, and pods that reach themselves
//
// There is one chain per port of a service, with a DNAT rule per endpoint in
// it, rather than a chain per endpoint: a change of one endpoint rewrites one
// short chain. In the filter table HEADWAY-REJECT refuses connections to
// services without endpoints, HEADWAY-FORWARD lets through what was marked, and
// HEADWAY-FIREWALL keeps neighbours off the loopback addresses that
// route_localnet opens.
//
// Endpoints are chosen as kube-proxy does: those that are ready; if there are
// none, those that are terminating but still serve; where a policy says Local,
// of this node's. externalTrafficPolicy binds who comes from outside of the
// cluster, not its pods and nodes. Only IPv4 is handled.
package rules
