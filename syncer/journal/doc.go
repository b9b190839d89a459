// Package journal records what the syncer did: entries that are chained by
// their hashes, each written in the transaction that it is about.
package journal
