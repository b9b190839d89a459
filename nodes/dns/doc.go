// Package dns is the name server of a node: it answers its pods' questions about the
// names of the cluster from what it follows of the API, and asks others about the rest.
//
//	API ─ Services, EndpointSlices ─▶ records.Zone ◀─┐
//	agent ─ the node's pods ────────▶                │ names of the cluster
//	pods ─ UDP, TCP ─▶ Server.ServeDNS ──────────────┤
//	                                                 │ all others
//	                        forward.Forwarder ◀──────┘─▶ the node's name servers
//
// [Server] listens at one address of the node's own. While the API cannot be reached
// it answers from what it has; before it has had all of it, it answers that it
// failed, as nobody may take a name for one that does not exist.
//
// Concurrency: [Server.Run] owns what follows the API and what listens, and waits for
// it. A question has a goroutine of the library's, in which a panic ends that question.
package dns
