// Package forward asks other name servers, and keeps what they answer for as long
// as they say.
//
//	Ask ─▶ cache ─▶ one question for all who ask the same ─▶ the servers of the
//	longest stub domain, or the upstream ones: UDP, and TCP if it was cut ─▶ cache
//
// The upstream servers are those of the node's resolv.conf, which is read again
// when it changes, unless [Forwarder.SetRoutes] names others. A server that does not
// answer is asked last for a while. One that leads back here, which a probe finds
// out, is not asked at all.
//
// Concurrency: all methods may be called from many goroutines; [Forwarder.Run] owns
// the probes.
package forward
