// Package parents tells which Kustomization declares which: who waits for whom,
// and with which spec one is applied that declares itself.
package parents
