// Package iptables writes decisions about Services as rules of iptables and
// ip6tables. It is the only user of these programs.
//
// A new connection takes this way through the nat table:
//
//	PREROUTING, OUTPUT ─▶ HEADWAY-SERVICES  ── cluster IP and port ──▶ HEADWAY-SVC-x ─▶ DNAT
//	                   ├▶ HEADWAY-EXTERNALS ── external IP and port ─┐
//	                   └▶ HEADWAY-NODEPORTS ── node port ─▶ HEADWAY-EXT-x ─▶ mark, HEADWAY-SVC-x; or DNAT to a local endpoint
//	POSTROUTING ─▶ HEADWAY-POSTROUTING: masquerade what is marked, and pods that reach themselves
//
// There is one chain per port of a service, with a DNAT rule per endpoint in
// it, rather than a chain per endpoint: a change of one endpoint rewrites one
// short chain. In the filter table HEADWAY-REJECT refuses connections to
// services without endpoints, HEADWAY-FORWARD lets through what was marked, and
// HEADWAY-FIREWALL keeps neighbours off the loopback addresses that
// route_localnet opens.
//
// Rules.Apply takes what changed. Each family's table remembers what it applied
// last, and hands only the chains that differ to one "iptables-restore
// --noflush" per call, which replaces them at once: at every instant a packet
// meets the old rules or the new ones. The first Apply, and every one after
// Verify found a chain or jump missing, writes all chains and removes those of
// ours in the kernel that are not wanted.
//
// Rules are for one goroutine; the kernel's tables may be used by others.
package iptables
