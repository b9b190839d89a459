// Package storetest tests what the syncer relies on in a store; the real store
// and the in-memory one of the syncer's own tests both pass.
package storetest
