// Package serve answers HTTP requests with what the endpoints of Services say.
//
//	clients ─▶ [Server.Serve]: limits, PROXY protocol, TLS ─▶ net/http ─▶ [Server.ServeHTTP]
//	           routes.Table.Match ─▶ httputil.ReverseProxy ─▶ upstream.Set.Send
//
// HTTP itself, with what makes it safe (what is told of a request's length, headers that
// are for one connection, trailers, upgrades, HTTP/2), is net/http's.
//
// Concurrency: Serve owns what it starts, and waits for it. A request has a goroutine of
// the library's, in which a panic ends that request.
package serve
