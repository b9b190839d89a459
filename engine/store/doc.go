// Package store keeps the objects of the cluster: typed and immutable in
// memory, durable in bbolt. With the rooms beside it, it is the only user of bbolt.
//
// Reading order: [Store], [Store.Commit] and change.Tx, [Store.Watch],
// [Snapshot], [Scope], record.Codec.
//
// # One write
//
//	Commit ─▶ requests ─▶ writer goroutine ──────────────────────────▶ readers, watchers
//	                       take all that wait (a batch)
//	                       run Mutate, Admit and Along on the working trees
//	                       one bbolt transaction for the batch
//	                       publish: snapshot, events, wake the watchers
//
// A transaction that fails is taken back from the working trees and does not
// touch the others of its batch. change.Wait transactions are published after
// the bbolt commit: what anybody has seen of them is on disk. change.Behind
// transactions (Events) are published at once and their keys marked dirty; the
// next bbolt commit, of a Wait batch or soon after by a timer, writes the newest
// state of every dirty key. So the file always holds a prefix of the revisions:
// after a crash the newest Behind writes may be missing, never something older
// than what is there.
//
// Every change gets its own revision from one counter, and is its object's
// resourceVersion. A ceiling above all revisions given out is kept in the file,
// so that the counter never runs backwards, whatever was lost.
//
// # The file
//
// Package file has its layout. Records that newer ones replace are deleted in
// the background. Open reads every page first, so that a damaged file is
// refused before anything is done with it, and replays the records into memory.
//
// # Indexes
//
// Objects are found by namespace and name, and by the fields that their kind has
// indexes of (kind.Fields): a [Scope] says which. [Snapshot.In] lists what is in
// it, [Store.FollowScope] follows that. Who follows a scope has a topic in the
// kind's history, which an event finds by what it is about: others are neither
// woken nor looked at.
//
// # Concurrency
//
// Readers never lock: they read a snapshot of copy-on-write trees. Watchers
// are cursors into a ring of recent events per kind; they own neither buffer
// nor goroutine. One goroutine writes; Close waits for it.
package store
