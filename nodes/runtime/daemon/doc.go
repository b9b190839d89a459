// Package daemon manages the private containerd and its shims: it starts or
// adopts containerd, finds and ends shims, and interprets their errors.
package daemon
