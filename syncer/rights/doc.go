// Package rights decides whom a Kustomization acts as, and what it and whoever
// calls may do and see.
package rights
