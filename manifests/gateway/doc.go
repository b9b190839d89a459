// Package gateway decides what the kinds of the Gateway API mean: which listeners are
// served, which routes are attached to them for which hosts, which references hold, and what
// the statuses of all of them say. It is pure.
//
//	GatewayClasses, Gateways, routes, ReferenceGrants, Services … ─▶ [Decide] ─▶ *[Decision]
//
// The server decides for the statuses (engine/controllers/gateway), and each agent for what
// it serves (nodes/ingress), by the same code, so that what is told is what is done.
//
// https://gateway-api.sigs.k8s.io/reference/spec/
package gateway
