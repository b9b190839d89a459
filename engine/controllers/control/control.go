package control

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/event"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// atOnce is how many transactions of one key wait for the store together.
const atOnce = 64

// Store is what controllers need of the store.
type Store interface {
	object.Reader
	Revision() uint64
	Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error)
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
}

// Controller brings one aspect of the cluster to the state that the objects ask
// for.
type Controller struct {
	// Name is the controller's name in kube-controller-manager's --controllers
	// flag.
	Name string
	// Workers is how many keys are reconciled at once (default 1).
	Workers int
	// Keys calls add with what an event asks to reconcile. It runs in the
	// feed's goroutine after the indexes were brought up to date, so it must
	// be quick and must not write.
	Keys func(ev object.Event, add func(object.Key))
	// Reconcile brings one key to its desired state. It must be idempotent. A
	// positive duration asks for a call after that time; an error for one after
	// a growing back-off.
	Reconcile func(ctx context.Context, key object.Key) (time.Duration, error)
	// Start, if set, runs once before the first event.
	Start func(ctx context.Context) error
}

// Kinds are the kinds of the store, some of which come and go.
type Kinds interface {
	Kinds() []*kind.Kind
	ForKind(gk schema.GroupKind) (*kind.Kind, bool)
	ForResource(resource schema.GroupResource) (*kind.Kind, bool)
}

// Env is what a controller works with.
type Env struct {
	Store  Store
	Kinds  Kinds
	Feed   *Feed
	Events *event.Recorder
	Now    func() time.Time
	Log    *slog.Logger
}

// As is e for a controller that writes as user, by the store that stores returns
// for that; without stores everybody writes by e's.
func (e Env) As(stores func(change.User) Store, user change.User) Env {
	if stores != nil {
		e.Store = stores(user)
	}
	return e
}

// Commit writes tx, and returns when the indexes include it, or ctx has ended. After an
// error they include what led to it, and what may have been written nevertheless: who
// looked again before would decide as if it had not been.
func (e Env) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	if len(tx.Changes) == 0 {
		return nil, nil
	}
	objs, err := e.Store.Commit(ctx, tx)
	if wait := e.Feed.wait(ctx, e.Store.Revision()); err == nil {
		err = wait
	}
	if err != nil {
		return nil, err
	}
	return objs, nil
}

// CommitEach writes each change separately, so that one that is refused does
// not prevent the others; they share the store's batches. It returns the
// outcome of each, in their order, when the indexes include all of them.
func (e Env) CommitEach(ctx context.Context, changes []change.Change) []error {
	return e.commitApart(ctx, Singly(changes))
}

// CommitParts writes parts, each whole or not at all: together, or if that is
// refused, each by itself, so that one that is refused does not prevent the
// others. It returns the outcome of each, in their order.
func (e Env) CommitParts(ctx context.Context, parts [][]change.Change) []error {
	_, err := e.Commit(ctx, change.Tx{Changes: slices.Concat(parts...)})
	if err != nil && len(parts) > 1 && ctx.Err() == nil {
		return e.commitApart(ctx, parts)
	}
	errs := make([]error, len(parts))
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// Singly makes a part of each change.
func Singly(changes []change.Change) [][]change.Change {
	return slices.Collect(slices.Chunk(changes, 1))
}

func (e Env) commitApart(ctx context.Context, parts [][]change.Change) []error {
	errs := make([]error, len(parts))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, part := range parts {
		group.Go(func() error {
			errs[i] = guard.Call(ctx, "write "+part[0].Key.String(), func() error {
				_, err := e.Store.Commit(ctx, change.Tx{Changes: part})
				return err
			})
			return nil
		})
	}
	_ = group.Wait() // none of them fails
	if err := e.Feed.wait(ctx, e.Store.Revision()); err != nil {
		for i := range errs {
			errs[i] = cmp.Or(errs[i], err)
		}
	}
	return errs
}

// Get reads an object as its own type; nil if it does not exist.
func Get[T any, PT interface {
	*T
	object.Object
}](r object.Reader, key object.Key) PT {
	obj, ok := r.Get(key).(PT)
	if !ok {
		return nil
	}
	return obj
}

// Present returns a change that does nothing if the object is gone, so that the
// deletion of one object does not fail a transaction about many.
func Present(c change.Change) change.Change {
	mutate := c.Mutate
	c.Mutate = func(current object.Object) (object.Object, error) {
		if current == nil {
			return nil, nil
		}
		return mutate(current)
	}
	return c
}

// Guarded returns a change that does nothing unless the stored object satisfies
// is; a missing object never does.
func Guarded(c change.Change, is func(current object.Object) bool) change.Change {
	mutate := c.Mutate
	c.Mutate = func(current object.Object) (object.Object, error) {
		if current == nil || !is(current) {
			return current, nil
		}
		return mutate(current)
	}
	return c
}
