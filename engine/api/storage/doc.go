// Package storage lets k8s.io/apiserver keep its objects in engine/store: it
// implements the library's storage.Interface.
//
// Reading order: [Config] and [New], [Options] (the seam for
// genericregistry.Store).
//
//	genericregistry.Store ─▶ Storage ─▶ store.Store
//	   "/pods/ns/name"                   object.Key{Pod, ns, name}
//
// The store's objects are shared and immutable; the library changes what it is
// given. So single objects are deep copies in both directions, list items
// share all but their top struct, and watch events are
// runtime.CacheableObjects: encoded once for all watchers, from a copy.
//
// Custom resources are read in several forms ([Forms]), which the library makes of
// what is stored; [Handover] spares them the way through JSON.
//
// Lists at an older revision, which continue tokens ask for, are made from the
// newest state and the store's history; they expire with it (410 Gone).
//
// # Concurrency
//
// Storage is safe for concurrent use. Each watch has one goroutine, which ends
// with its context or Stop. Objects with a time to live are removed by one
// goroutine, which Destroy ends.
package storage
