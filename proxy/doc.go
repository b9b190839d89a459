// Package proxy makes Services work on a node: connections to a cluster IP or
// node port reach one of the service's endpoints.
//
//	Source (API) ── changed ──▶ rules.Build ──▶ iptables.Table.Apply ──▶ kernel
//	                   ▲                                 │ failed: again, with back-off
//	                   └── every minute: still all there? ┘
//
// Proxy.Run is one goroutine that does this until its context ends; the source
// has its own, which Run waits for. Changes that come while rules are being
// written are taken up together. When Run ends, the rules stay, so that
// connections work while the program restarts; Cleanup removes them.
package proxy
