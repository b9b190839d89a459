// Package store keeps the objects of the cluster: typed and immutable in
// memory, durable in bbolt. It is the only user of bbolt.
package store

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
)

// Admit looks at one change of a transaction at the point of commit, with a
// view that includes the transaction's earlier changes, and returns the state
// to store (next, or a changed copy) or refuses the transaction. next is nil
// for a removal, old for a creation. It guards what must hold between objects:
// unique service addresses, no creation in a namespace that is missing or
// terminating. It must not call the store.
type Admit func(view object.Reader, next, old object.Object) (object.Object, error)

// Options of Open.
type Options struct {
	// Path of the database file. It is locked while open.
	Path  string
	Admit []Admit
	// History is how many events each kind keeps for watchers (default 4096).
	History int
	Log     *slog.Logger
	// LockTimeout bounds the wait for another process's lock (default 1s).
	LockTimeout time.Duration
}

// Store is safe for concurrent use.
type Store struct{}

// Open opens or creates the store and reads all of it into memory.
func Open(opts Options) (*Store, error) { return nil, nil }

// Close waits until everything acknowledged is on disk, and closes.
func (s *Store) Close() error { return nil }

// Get implements object.Reader.
func (s *Store) Get(key object.Key) object.Object { return nil }

// List implements object.Reader.
func (s *Store) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	return nil, 0
}

// Revision is that of the newest readable state.
func (s *Store) Revision() uint64 { return 0 }

// Watch follows the given kinds (all, if none) from after revision from; 0 is
// from now on. It fails with object.ErrExpired if the events are gone.
func (s *Store) Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error) {
	return nil, nil
}

// Commit applies tx whole or not at all and returns the state of each change's
// key afterwards (nil where it was removed). Errors of Mutate and Admit come
// back as they are. When it returns, readers and watchers see the change.
func (s *Store) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) { return nil, nil }

// Records reads up to limit entries of an append-only log from index from
// (0-based) on, oldest first; negative from counts from the end.
func (s *Store) Records(log string, from int64, limit int) ([][]byte, error) { return nil, nil }
