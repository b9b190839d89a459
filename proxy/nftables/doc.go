// Package nftables writes decisions about Services as maps of nftables. It is
// the only user of the program nft.
//
// A new connection takes this way through the table "inet headway-proxy":
//
//	prerouting, output ─▶ services ── address, protocol, port: map services-4 ─┐
//	                               └─ protocol, port of a node port: nodeports-4 ─▶ internal-4-n, … ── map endpoints-4 ─▶ DNAT
//	postrouting: masquerade what is marked, and pods that reach themselves
//	input, forward, output ─▶ refuse: maps refused-4, refused-nodeports-4
//
// Services have no chains of their own, but elements of maps: one that leads an
// address to the chain for its number of endpoints, and one for each endpoint,
// of which that chain picks one by a random number. So a connection passes as
// many rules with ten thousand Services as with one, and a change is a
// transaction of a few elements. Only Services with session affinity or source
// ranges have chains.
//
// Rules.Apply takes what changed; everything is written by the first Apply and
// after Verify found something missing. Rules are for one goroutine.
package nftables
