// Package kernel sets what Services need of the kernel besides rules, whichever
// program writes these: its parameters, routes to the ranges of cluster IPs, and
// that UDP flows of endpoints that are gone are forgotten.
package kernel
