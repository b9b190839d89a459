package store

import (
	"iter"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// Snapshot is an immutable, ordered view of one kind at one revision. It is
// free to take and to keep; it keeps its objects in memory.
type Snapshot struct {
	kind     schema.GroupKind
	indexes  Indexes
	objects  *collection
	revision uint64
}

// Snapshot returns the kind's newest readable state.
func (s *Store) Snapshot(kind schema.GroupKind) *Snapshot {
	st := s.current.Load()
	return &Snapshot{kind, s.indexes(kind), st.kinds[kind], st.revision}
}

// SnapshotAt returns the kind's state as it was at revision, by undoing the
// events since: the work is proportional to their number. It fails with
// object.ErrExpired if they are no longer kept, and with ErrFuture.
func (s *Store) SnapshotAt(kind schema.GroupKind, revision uint64) (*Snapshot, error) {
	newest, since, err := since(s, kind, revision)
	snapshot := &Snapshot{kind, s.indexes(kind), newest, revision}
	switch {
	case err != nil:
		return nil, err
	case len(since) == 0:
		return snapshot, nil
	}
	s.cloning.Lock()
	snapshot.objects = newest.clone()
	s.cloning.Unlock()
	for _, e := range slices.Backward(since) {
		if e.old != nil {
			snapshot.objects.put(e.old)
		} else {
			snapshot.objects.remove(e.entry.key)
		}
	}
	return snapshot, nil
}

// since returns the newest objects of a kind, and the events after revision that
// led to them.
func since(s *Store, kind schema.GroupKind, revision uint64) (*collection, []event, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.current.Load()
	h := s.histories[kind]
	forgotten := s.forgotten
	if h != nil {
		forgotten = h.forgotten
	}
	switch {
	case revision > st.revision:
		return nil, nil, ErrFuture
	case revision < forgotten:
		return nil, nil, object.ErrExpired
	}
	var events []event
	if h != nil {
		for i := h.after(revision); i < h.count; i++ {
			events = append(events, h.at(i))
		}
	}
	return st.kinds[kind], events, nil
}

// Revision returns the revision of the state.
func (sn *Snapshot) Revision() uint64 { return sn.revision }

// Len returns the number of objects.
func (sn *Snapshot) Len() int { return sn.objects.len() }

// Count returns the number of objects from (namespace, name) on, inclusive, of
// the namespace within, or of all if it is empty, without looking at them.
func (sn *Snapshot) Count(within, namespace, name string) int {
	return sn.objects.count(within, namespace, name)
}

// Get returns the object, or nil if it does not exist.
func (sn *Snapshot) Get(namespace, name string) object.Object {
	if e := sn.objects.get(namespace, name); e != nil {
		return e.object()
	}
	return nil
}

// From iterates over the objects from (namespace, name) on, inclusive, ordered
// by namespace and name, across all namespaces.
func (sn *Snapshot) From(namespace, name string) iter.Seq2[object.Key, object.Object] {
	return public(sn.objects.from(namespace, name))
}

// In is From of the objects in a scope, without a look at the others.
func (sn *Snapshot) In(scope Scope, namespace, name string) (iter.Seq2[object.Key, object.Object], error) {
	about, ok, err := sn.indexes.term(sn.kind, scope)
	if err != nil {
		return nil, err
	}
	if !ok {
		return sn.From(namespace, name), nil
	}
	return public(sn.objects.in(about, namespace, name)), nil
}

// public iterates over the keys and objects of entries.
func public(entries iter.Seq[*entry]) iter.Seq2[object.Key, object.Object] {
	return func(yield func(object.Key, object.Object) bool) {
		for e := range entries {
			if !yield(e.key, e.object()) {
				return
			}
		}
	}
}
