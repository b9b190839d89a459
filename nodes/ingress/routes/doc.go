// Package routes decides where a request goes. It is pure.
//
//	Ingresses ─▶ [FromIngresses] ─▶ []Rule ─▶ [NewTable] ─▶ Table.Match(host, path) ─▶ *Action
//	Gateways ─ gateway.Decide ─▶ [FromGateways] ─▶ a Table for each listener ─▶ Gateways.Match(port, request)
//
// A [Rule] says for which hosts and paths there is which [Action]; where a rule is from
// does not matter to a [Table], so that other kinds can have rules, too. An Action never
// changes: a request that has one goes on with it, whatever becomes of the table.
package routes
