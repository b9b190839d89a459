package store

import (
	"iter"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// Snapshot is an immutable, ordered view of one kind at one revision. It is
// free to take and to keep; it keeps its objects in memory.
type Snapshot struct {
	tree     *tree
	revision uint64
}

// Snapshot returns the kind's newest readable state.
func (s *Store) Snapshot(kind schema.GroupKind) *Snapshot {
	st := s.current.Load()
	return &Snapshot{tree: st.kinds[kind], revision: st.revision}
}

// SnapshotAt returns the kind's state as it was at revision, by undoing the
// events since: the work is proportional to their number. It fails with
// object.ErrExpired if they are no longer kept, and with ErrFuture.
func (s *Store) SnapshotAt(kind schema.GroupKind, revision uint64) (*Snapshot, error) {
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
		return nil, ErrFuture
	case revision < forgotten:
		return nil, object.ErrExpired
	}
	snapshot := &Snapshot{tree: st.kinds[kind], revision: revision}
	if h == nil || h.after(revision) == h.count {
		return snapshot, nil
	}
	s.cloning.Lock()
	snapshot.tree = snapshot.tree.Clone()
	s.cloning.Unlock()
	for i := h.count - 1; i >= h.after(revision); i-- {
		if e := h.at(i); e.old != nil {
			snapshot.tree.ReplaceOrInsert(e.old)
		} else {
			snapshot.tree.Delete(e.entry)
		}
	}
	return snapshot, nil
}

// Revision returns the revision of the state.
func (sn *Snapshot) Revision() uint64 { return sn.revision }

// Len returns the number of objects.
func (sn *Snapshot) Len() int {
	if sn.tree == nil {
		return 0
	}
	return sn.tree.Len()
}

// Get returns the object, or nil if it does not exist.
func (sn *Snapshot) Get(namespace, name string) object.Object {
	if sn.tree == nil {
		return nil
	}
	e, ok := sn.tree.Get(&entry{key: object.Key{Namespace: namespace, Name: name}})
	if !ok {
		return nil
	}
	return e.object
}

// From iterates over the objects from (namespace, name) on, inclusive, ordered
// by namespace and name, across all namespaces.
func (sn *Snapshot) From(namespace, name string) iter.Seq2[object.Key, object.Object] {
	return func(yield func(object.Key, object.Object) bool) {
		if sn.tree == nil {
			return
		}
		for e := range from(sn.tree, namespace, name) {
			if !yield(e.key, e.object) {
				return
			}
		}
	}
}
