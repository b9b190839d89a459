package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Feed follows the store's events, maintains the indexes and notifies the
// controllers. Indexes and subscriptions are created before run.
type Feed struct {
	store Store
	kinds Kinds
	log   *slog.Logger

	indexes map[string]*Index
	places  *Places // nil if nobody asks
	subs    []func(object.Event)
	// seen is the state up to which events were handed on, so that a new list
	// after a gap can be told as the events that were missed.
	seen map[object.Key]seen
	// listed is the revision of each kind's list: events up to it are in it.
	listed map[schema.GroupKind]uint64
	// loaded is where the events began.
	loaded uint64

	mu       sync.Mutex
	revision uint64
	moved    chan struct{}
}

// seen is an object as it was handed on, packed if the store keeps it so: all of them
// would else be kept whole.
type seen struct {
	whole  object.Object
	packed object.Packed
}

func see(key object.Key, obj object.Object) seen {
	if k, ok := scheme.ForKind(key.GroupKind); ok && k.Pack != nil {
		return seen{packed: k.Pack(obj)}
	}
	return seen{whole: obj}
}

// object is nil if nothing was seen.
func (s seen) object() object.Object {
	if s.packed != nil {
		return s.packed.Whole()
	}
	return s.whole
}

// NewFeed makes a feed of all kinds of the store, also of those that come later.
func NewFeed(store Store, kinds Kinds, log *slog.Logger) *Feed {
	return &Feed{
		store: store, kinds: kinds, log: log,
		indexes: map[string]*Index{},
		seen:    map[object.Key]seen{},
		listed:  map[schema.GroupKind]uint64{},
		moved:   make(chan struct{}),
	}
}

// Index returns the index of that name, and creates it at the first call:
// controllers that want the same index share it. of must give the same values
// for the same object, each once; kinds are all kinds if empty.
func (f *Feed) Index(name string, of func(object.Object) []string, kinds ...schema.GroupKind) *Index {
	ix, ok := f.indexes[name]
	if !ok {
		ix = newIndex(of, kinds)
		f.indexes[name] = ix
	}
	return ix
}

// Places returns where objects are, which all controllers share.
func (f *Feed) Places() *Places {
	if f.places == nil {
		f.places = &Places{at: map[types.UID]string{}}
	}
	return f.places
}

// subscribe calls fn with every event, after the indexes were updated.
func (f *Feed) subscribe(fn func(object.Event)) { f.subs = append(f.subs, fn) }

// load lists everything and tells it as events, and returns a watcher from
// there on.
func (f *Feed) load(ctx context.Context) (object.Watcher, error) {
	// From before the list, so that nothing falls between.
	watcher, err := f.store.Watch(0)
	if err != nil {
		return nil, fmt.Errorf("watch the store: %w", err)
	}
	start := watcher.Revision()
	f.loaded = start
	clear(f.listed)
	present := make(map[object.Key]bool, len(f.seen))
	var events []object.Event
	for _, k := range f.kinds.Kinds() {
		kind := k.GroupKind()
		objs, revision := f.store.List(kind, "")
		f.listed[kind] = revision
		for _, obj := range objs {
			key := object.KeyOf(kind, obj)
			present[key] = true
			events = append(events, object.Event{Type: object.Added, Key: key, Object: obj, Revision: revision})
		}
	}
	for key, last := range f.seen {
		// Objects of a kind that is not served at present may still be there.
		if _, listed := f.listed[key.GroupKind]; !present[key] && (listed || f.store.Get(key) == nil) {
			old := last.object()
			events = append(events, object.Event{Type: object.Deleted, Key: key, Object: old, Old: old, Revision: start})
		}
	}
	// All of it goes into the indexes before anyone is told any of it, or the
	// first keys would be judged by half a cluster.
	for i := range events {
		f.keep(ctx, &events[i])
	}
	for _, ev := range events {
		f.tell(ctx, ev)
	}
	f.advance(start)
	return watcher, nil
}

// arrived tells of the objects of kinds that were not served when everything was listed:
// those that have not changed since were told of to nobody.
func (f *Feed) arrived(ctx context.Context) {
	var events []object.Event
	for _, k := range f.kinds.Kinds() {
		kind := k.GroupKind()
		if _, listed := f.listed[kind]; listed {
			continue
		}
		f.listed[kind] = 0 // events come of all others
		objs, _ := f.store.List(kind, "")
		for _, obj := range objs {
			key := object.KeyOf(kind, obj)
			revision, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
			if _, told := f.seen[key]; told || err != nil || revision > f.loaded {
				continue
			}
			events = append(events, object.Event{Type: object.Added, Key: key, Object: obj, Revision: revision})
		}
	}
	for i := range events {
		f.keep(ctx, &events[i])
	}
	for _, ev := range events {
		f.tell(ctx, ev)
	}
}

// keep replaces the event's Old by what the indexes know, and updates them.
func (f *Feed) keep(ctx context.Context, ev *object.Event) {
	ev.Old = f.seen[ev.Key].object()
	if ev.Old != nil && ev.Type == object.Added {
		ev.Type = object.Modified
	}
	if ev.Type == object.Deleted {
		delete(f.seen, ev.Key)
	} else {
		f.seen[ev.Key] = see(ev.Key, ev.Object)
	}
	for _, ix := range f.indexes {
		guarded(ctx, ev.Key, func() { ix.observe(*ev) })
	}
	if f.places != nil {
		guarded(ctx, ev.Key, func() { f.places.observe(*ev) })
	}
}

// tell hands an event on. What one subscriber makes of it is no matter of the
// others.
func (f *Feed) tell(ctx context.Context, ev object.Event) {
	for _, sub := range f.subs {
		guarded(ctx, ev.Key, func() { sub(ev) })
	}
}

// guarded keeps a poisonous object from stopping the feed of all the others.
// The key is only put into words when there is something to tell.
func guarded(ctx context.Context, key object.Key, look func()) {
	defer func() {
		if value := recover(); value != nil {
			guard.Report(ctx, "look at the event of "+key.String(), value)
		}
	}()
	look()
}

// run follows the store until ctx ends.
func (f *Feed) run(ctx context.Context) error {
	watcher, err := f.load(ctx)
	if err != nil {
		return err
	}
	return f.follow(ctx, watcher)
}

// follow hands on events until ctx ends.
func (f *Feed) follow(ctx context.Context, watcher object.Watcher) error {
	for {
		events, err := watcher.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end that was asked for
		case errors.Is(err, object.ErrExpired):
			f.log.Warn("controllers fell behind the store's events, listing again")
			if watcher, err = f.load(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("follow the store: %w", err)
		}
		for _, ev := range events {
			if ev.Revision <= f.listed[ev.Key.GroupKind] {
				continue
			}
			f.keep(ctx, &ev)
			f.tell(ctx, ev)
			if ev.Key.GroupKind == scheme.Definition {
				f.arrived(ctx)
			}
		}
		f.advance(watcher.Revision())
	}
}

func (f *Feed) advance(revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if revision > f.revision {
		f.revision = revision
		close(f.moved)
		f.moved = make(chan struct{})
	}
}

// wait returns when the indexes include the given revision, however long that
// takes: who decides without what it wrote before would write it again, a
// second replica set or as many pods once more.
func (f *Feed) wait(ctx context.Context, revision uint64) error {
	for {
		f.mu.Lock()
		reached, moved := f.revision >= revision, f.moved
		f.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
