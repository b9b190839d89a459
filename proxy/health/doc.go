// Package health answers external load balancers that ask, at the health check
// node port of a Service whose externalTrafficPolicy is Local, whether this node
// has an endpoint of it.
package health
