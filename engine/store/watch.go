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
}

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
	var pending []event
	w.each(func(h *history) {
		first := h.after(position)
		// One more than is returned tells that there are more.
		for i := first; i < h.count && i-first <= limit; i++ {
			pending = append(pending, h.at(i))
		}
	})
	if s.done && len(pending) == 0 {
		return nil, nil, ErrClosed
	}
	changed := s.changed
	if len(w.kinds) == 1 {
		changed = s.histories[w.kinds[0]].changed
	} else {
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

// Revision implements object.Watcher.
func (w *Watcher) Revision() uint64 {
	s := w.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	position := w.position.Load()
	pending := w.expired()
	w.each(func(h *history) { pending = pending || h.after(position) < h.count })
	if pending {
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
	expired := len(w.kinds) == 0 && position < w.store.forgotten
	w.each(func(h *history) { expired = expired || position < h.forgotten })
	return expired
}
