// Package syncer makes the cluster follow Git: it serves Flux's GitRepository
// and Kustomization kinds and writes the objects that a branch declares to the
// store: a commit is one transaction for all Kustomizations of a source that are
// due.
//
// Key types, in reading order: [Config], [Syncer] with [New] and
// [Syncer.Run], then env.Store and env.Events, what it needs of the others.
//
//	GitRepository loop:  fetch ─▶ verify ─▶ head ──┐            (one per source)
//	                                               ▼
//	Kustomization loop:  build ─▶ plan ─▶ check ─▶ commit ─▶ health ─▶ verdict
//	       ▲                                         │ journal, status and inventory
//	       └── spec, request, interval, drift        ▼ in the same transaction
//	             (store watch)                     store
//
// Run owns one goroutine per GitRepository and per Kustomization and one that
// follows the store; a loop that fails or hangs stops no other. A loop is
// level-triggered: it is told that something may have changed and looks for
// itself. A new head is applied by a group first, which a second goroutine of
// the GitRepository gathers: who steps a Kustomization, its loop or a group, has
// its turn.
//
// The journal is the store's log "journal": one JSON [wire.Entry] per record,
// each with the hash of the one before.
package syncer
