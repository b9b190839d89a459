// Package flux contains the vocabulary of Flux's kinds as the syncer uses it:
// annotations, keys of the objects that an object refers to, conditions,
// inventories, and what specs mean where they leave something open.
package flux
