// Package flux contains the vocabulary of Flux's kinds as the syncer uses it: what
// the annotations of an object say, keys of the objects that it refers to,
// conditions, inventories, and what specs mean where they leave something open.
package flux
