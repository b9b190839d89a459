// Package memstore is an in-memory store for the syncer's tests: it keeps the
// promises that the syncer relies on, and writes nothing to disk.
package memstore

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Store is safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each commit
	objects map[object.Key]object.Object
	events  []object.Event
	logs    map[string][][]byte
	removed map[string]int64 // entries that a log no longer has
	rev     uint64
	// idle has the watchers that have had all there is, and wait for more; open
	// those that somebody follows.
	idle, open map[*watcher]bool
	kinds      scheme.Registry
	// Commits counts the transactions that changed something.
	commits int
}

// New returns an empty store.
func New() *Store {
	return &Store{changed: make(chan struct{}), objects: map[object.Key]object.Object{}, logs: map[string][][]byte{}, removed: map[string]int64{}, idle: map[*watcher]bool{}, open: map[*watcher]bool{}, rev: 1}
}

// Get implements object.Reader.
func (s *Store) Get(key object.Key) object.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key]
}

// List implements object.Reader.
func (s *Store) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []object.Object
	for key, obj := range s.objects {
		if key.GroupKind == kind && (namespace == "" || key.Namespace == namespace) {
			list = append(list, obj)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		return a.GetNamespace() < b.GetNamespace() || a.GetNamespace() == b.GetNamespace() && a.GetName() < b.GetName()
	})
	return list, s.rev
}

// Kinds are the kinds that the stored definitions define, and Headway's own.
func (s *Store) Kinds() *scheme.Registry { return &s.kinds }

// Commits returns the number of transactions that changed something.
func (s *Store) Commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

// Handled reports whether all watchers have come back for more after the newest
// event, and so are done with it.
func (s *Store) Handled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.open {
		if !s.idle[w] || w.rev < s.rev {
			return false
		}
	}
	return true
}

// Commit applies tx whole or not at all. Each change gets a revision and an event
// of its own.
func (s *Store) Commit(ctx context.Context, tx change.Tx) (_ []object.Object, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("memstore: panic in a transaction: %v", p)
		}
	}()
	staged := map[object.Key]object.Object{}
	var events []object.Event
	for _, c := range tx.Changes {
		current, seen := staged[c.Key]
		if !seen {
			current = s.objects[c.Key]
		}
		next, err := c.Mutate(current)
		if err != nil {
			return nil, err
		}
		if next == current {
			continue
		}
		if _, custom := next.(*unstructured.Unstructured); custom || next == nil {
			// of a kind that may come later
		} else if _, served := scheme.ForKind(c.Key.GroupKind); !served {
			return nil, fmt.Errorf("memstore: kind %s is not registered", c.Key.GroupKind)
		}
		ev := object.Event{Key: c.Key, Old: current, Revision: s.rev + uint64(len(events)) + 1, Type: object.Modified}
		switch {
		case next == nil:
			ev.Type, ev.Object = object.Deleted, withVersion(current, ev.Revision)
		case current == nil:
			ev.Type = object.Added
			fallthrough
		default:
			next = withVersion(next, ev.Revision)
			ev.Object = next
		}
		staged[c.Key] = next
		events = append(events, ev)
	}
	for key, next := range staged {
		if next == nil {
			delete(s.objects, key)
		} else {
			s.objects[key] = next
		}
	}
	s.rev += uint64(len(events))
	s.events = append(s.events, events...)
	s.kinds.Observe(events)
	for _, r := range tx.Append {
		s.logs[r.Log] = append(s.logs[r.Log], r.Data)
		if over := int64(len(s.logs[r.Log])) - r.Keep; r.Keep > 0 && over > 0 {
			s.logs[r.Log] = s.logs[r.Log][over:]
			s.removed[r.Log] += over
		}
	}
	if len(events)+len(tx.Append) > 0 {
		s.commits++
		close(s.changed)
		s.changed = make(chan struct{})
	}
	states := make([]object.Object, len(tx.Changes))
	for i, c := range tx.Changes {
		states[i] = s.objects[c.Key]
	}
	return states, nil
}

// withVersion is a copy: what is handed in stays the caller's.
func withVersion(obj object.Object, revision uint64) object.Object {
	next, _ := obj.DeepCopyObject().(object.Object)
	next.SetResourceVersion(strconv.FormatUint(revision, 10))
	return next
}

// Records reads an append-only log.
func (s *Store) Records(log string, from int64, limit int) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.logs[log]
	if from < 0 {
		from = max(0, int64(len(all))+from)
	} else {
		from = max(0, from-s.removed[log])
	}
	if from >= int64(len(all)) {
		return nil, nil
	}
	all = all[from:]
	return all[:min(limit, len(all))], nil
}

// Watch follows kinds from after a revision; 0 is from now on.
func (s *Store) Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from == 0 {
		from = s.rev
	}
	w := &watcher{s: s, rev: from, kinds: map[schema.GroupKind]bool{}}
	for _, k := range kinds {
		w.kinds[k] = true
	}
	return w, nil
}

type watcher struct {
	s     *Store
	rev   uint64
	kinds map[schema.GroupKind]bool
}

// Revision implements object.Watcher.
func (w *watcher) Revision() uint64 { return w.rev }

// Next implements object.Watcher.
func (w *watcher) Next(ctx context.Context) ([]object.Event, error) {
	defer func() {
		w.s.mu.Lock()
		delete(w.s.idle, w)
		if ctx.Err() != nil {
			delete(w.s.open, w)
		}
		w.s.mu.Unlock()
	}()
	for {
		w.s.mu.Lock()
		w.s.open[w] = true
		var list []object.Event
		for i := len(w.s.events) - 1; i >= 0 && w.s.events[i].Revision > w.rev; i-- {
			if ev := w.s.events[i]; len(w.kinds) == 0 || w.kinds[ev.Key.GroupKind] {
				list = append([]object.Event{ev}, list...)
			}
		}
		w.rev = max(w.rev, w.s.rev)
		w.s.idle[w] = len(list) == 0
		changed := w.s.changed
		w.s.mu.Unlock()
		if len(list) > 0 {
			return list, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}
