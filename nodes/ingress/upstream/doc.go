// Package upstream sends requests to the endpoints of Services.
//
//	API ─ Services, EndpointSlices ─▶ [Set] ─▶ Pool of a routes.Backend ─▶ endpoint ─▶ its http.Transport
//
// A request goes to the one of two endpoints, chosen at random, that has fewer requests at
// the time. One that cannot be connected to is avoided for a moment, and the request goes
// to another one: nothing of it has been sent. An endpoint that is ready no longer gets no
// new requests, unless it still serves and none is ready; its idle connections are closed
// before its program does it, so that no request meets a connection that is about to end.
//
// Concurrency: all methods of Set may be called at any time.
package upstream
