package store

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// Watch follows the given kinds (all, if none) from after revision from; 0 is
// from now on. It fails with object.ErrExpired if the events are gone. A
// revision in the future waits for the events after it. Next is for one
// goroutine at a time; a watcher needs no closing.
func (s *Store) Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error) {
	w, err := s.Follow(from, kinds...)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Follow is Watch that returns the concrete type, for callers that wait for
// other things at the same time.
func (s *Store) Follow(from uint64, kinds ...schema.GroupKind) (*Watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.follow(from, kinds...)
}

// FollowScope follows what is in a scope of a kind: the events whose object is
// in it, or was before. Other events do not wake the watcher, whose costs do not
// depend on them, and if they are forgotten it does not matter. Close ends it.
func (s *Store) FollowScope(from uint64, kind schema.GroupKind, scope Scope) (*Watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	about, ok, err := s.indexes(kind).term(kind, scope)
	if err != nil {
		return nil, err
	}
	w, err := s.follow(from, kind)
	if err != nil {
		return nil, err
	}
	if ok {
		w.topic = s.histories[kind].follow(about, w.position.Load(), s.current.Load().revision)
	}
	return w, nil
}

// follow makes a watcher of all events; s.mu must be held for writing.
func (s *Store) follow(from uint64, kinds ...schema.GroupKind) (*Watcher, error) {
	w := &Watcher{store: s, kinds: slices.Clone(kinds)}
	for _, kind := range kinds {
		s.history(kind) // so that it has a channel to wait on
	}
	if from == 0 {
		from = s.current.Load().revision
	}
	w.position.Store(from)
	if w.expired() {
		return nil, object.ErrExpired
	}
	return w, nil
}

// Watcher is a cursor into the store's histories: the revision up to which it
// has seen the events of its kinds.
type Watcher struct {
	store    *Store
	kinds    []schema.GroupKind
	position atomic.Uint64
	// topic knows the events that the watcher wants; nil if it wants all.
	topic *topic
}

// Close ends a watcher of a scope, which is not used afterwards. Others need no
// closing.
func (w *Watcher) Close() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if w.topic != nil {
		w.history().leave(w.topic)
		w.topic = nil
	}
}

// history is that of a watcher of one kind.
func (w *Watcher) history() *history { return w.store.histories[w.kinds[0]] }

// Next implements object.Watcher.
func (w *Watcher) Next(ctx context.Context) ([]object.Event, error) {
	for {
		events, changed, err := w.poll(math.MaxInt, math.MaxInt64)
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// What Poll returns at once: so many events, and of large objects so many that
// their states are this long together, as they are encoded.
const (
	polledEvents = 16
	polledBytes  = 1 << 20
)

// Poll returns the next few events since the last call, without waiting, and,
// if there are none, a channel that is closed when there may be some. A caller
// that is slow to process them keeps only these alive, and the store forgets
// the others. Its errors are those of Next.
func (w *Watcher) Poll() ([]object.Event, <-chan struct{}, error) {
	return w.poll(polledEvents, polledBytes)
}

// poll returns at most limit events, and after the first no more than are size
// bytes together.
func (w *Watcher) poll(limit int, size int64) ([]object.Event, <-chan struct{}, error) {
	s := w.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	if w.expired() {
		return nil, nil, object.ErrExpired
	}
	position := w.position.Load()
	pending := w.pending(position, limit)
	if s.done && len(pending) == 0 {
		return nil, nil, ErrClosed
	}
	changed := s.changed
	switch {
	case w.topic != nil:
		changed = w.topic.changed
	case len(w.kinds) == 1:
		changed = w.history().changed
	default:
		slices.SortFunc(pending, func(a, b event) int { return cmp.Compare(a.revision, b.revision) })
	}
	var events []object.Event
	for _, e := range pending {
		size -= e.entry.size + e.weight()
		if len(events) == limit || size < 0 && len(events) > 0 {
			w.position.Store(events[len(events)-1].Revision)
			return events, changed, nil
		}
		events = append(events, e.public())
	}
	w.position.Store(max(position, s.current.Load().revision))
	return events, changed, nil
}

// pending are the events after position, of each kind at most one more than
// limit: it tells that there are more. s.mu must be held.
func (w *Watcher) pending(position uint64, limit int) (events []event) {
	if w.topic != nil {
		h := w.history()
		for i, n := range h.afterIn(w.topic, position) {
			if i > limit {
				break
			}
			events = append(events, h.numbered(n))
		}
		return events
	}
	w.each(func(h *history) {
		first := h.after(position)
		for i := first; i < h.count && i-first <= limit; i++ {
			events = append(events, h.at(i))
		}
	})
	return events
}

// Revision implements object.Watcher.
func (w *Watcher) Revision() uint64 {
	s := w.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	position := w.position.Load()
	if w.expired() || len(w.pending(position, 0)) > 0 {
		return position
	}
	return max(position, s.current.Load().revision)
}

// each visits the histories of the watcher's kinds; s.mu must be held.
func (w *Watcher) each(visit func(*history)) {
	if len(w.kinds) == 0 {
		for _, h := range w.store.histories {
			visit(h)
		}
		return
	}
	for _, kind := range w.kinds {
		visit(w.store.histories[kind])
	}
}

func (w *Watcher) expired() bool {
	position := w.position.Load()
	if w.topic != nil {
		return position < w.topic.forgotten
	}
	expired := len(w.kinds) == 0 && position < w.store.forgotten
	w.each(func(h *history) { expired = expired || position < h.forgotten })
	return expired
}
