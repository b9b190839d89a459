// Package proxy makes Services work on a node: connections to a cluster IP or
// node port reach one of the service's endpoints.
//
//	Source (Cluster) ── what changed ──▶ service.Decide ──▶ iptables or nftables: Rules.Apply ──▶ kernel
//	                       ▲                                 │ failed: again, with back-off
//	                       └── every minute: still all there? ┘
//
// A change costs what it is about: State knows which Services changed, Decide
// looks at one of them alone, and Rules write what is different of it. Besides,
// kernel.Flows forgets UDP flows of endpoints that are gone, and health.Servers
// answers load balancers.
//
// Proxy.Run is one goroutine that does this until its context ends; the source
// has its own, which Run waits for. Changes that come while rules are being
// written are taken up together. When Run ends, the rules stay, so that
// connections work while the program restarts; Cleanup removes them.
package proxy
