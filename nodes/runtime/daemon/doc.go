// Package daemon keeps the private containerd and its shims: it starts or adopts
// the one, finds and ends the others, and knows what their errors mean.
package daemon
