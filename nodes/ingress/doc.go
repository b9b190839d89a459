// Package ingress is the L7 proxy of a node: it serves the Ingresses whose IngressClass is
// of the controller headway.dev/ingress, and the Gateways whose GatewayClass is of
// headway.dev/gateway.
//
//	API ─ Ingresses, IngressClasses ─▶ look ─▶ routes.FromIngresses ─▶ serve.Server
//	API ─ Gateways, routes, grants ──▶ gateway.Decide ─ routes.FromGateways ─▶ │
//	API ─ Services, EndpointSlices ──▶ upstream.Set ───────────────────▶ │
//	API ─ Secrets that they name ────▶ certificates.Store ─────────────▶ │
//	clients ─ HTTP, HTTPS ─▶ listen ───────────────────────────────────▶ │ ─▶ pods
//
// [Server] listens only while there is an Ingress or a Gateway of its own. It goes on with what it has
// while the API cannot be reached, and serves nothing before it has had all of it:
// HTTPS only once the certificates have been looked at, or were waited for long enough.
//
// Concurrency: [Server.Run] owns what follows the API and what listens, and waits for it.
package ingress
