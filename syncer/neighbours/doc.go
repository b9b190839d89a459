// Package neighbours finds out what the other Kustomizations declare at a revision,
// so that what moves between them is handed over, and nobody deletes what is
// another's.
package neighbours
