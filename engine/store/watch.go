package store

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/object"
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
		events, changed, err := w.Poll()
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

// Poll returns the events since the last call, without waiting, and a channel
// that is closed when there may be more. Its errors are those of Next.
func (w *Watcher) Poll() ([]object.Event, <-chan struct{}, error) {
	s := w.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	if w.expired() {
		return nil, nil, object.ErrExpired
	}
	position := w.position.Load()
	var events []object.Event
	w.each(func(h *history) {
		for i := h.after(position); i < h.count; i++ {
			events = append(events, h.at(i).public())
		}
	})
	if s.done && len(events) == 0 {
		return nil, nil, ErrClosed
	}
	changed := s.changed
	if len(w.kinds) == 1 {
		changed = s.histories[w.kinds[0]].changed
	} else {
		slices.SortFunc(events, func(a, b object.Event) int { return cmp.Compare(a.Revision, b.Revision) })
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
