// Package respond carries out headway.dev/on-failure: what follows when an applied
// commit has failed, as package verdict decides it.
package respond
