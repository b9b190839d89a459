// Package rights decides which account a Kustomization acts as, and what it and
// the callers may do and see.
package rights
