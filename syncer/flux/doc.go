// Package flux has the words of Flux's kinds as the syncer uses them: annotations,
// keys of what an object refers to, conditions, inventories, and what specs mean
// where they leave something open.
package flux
