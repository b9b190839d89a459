package store

import (
	"fmt"
	"slices"
	"sort"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Scope is a part of a kind's objects that the store finds, and whose events it
// finds, without a look at the others. The zero value is all of them.
type Scope struct {
	// Namespace and Name are those of the objects' keys, if they are set.
	Namespace, Name string
	// Field is one of the kind's indexed fields, and Value what it has. A scope
	// has a Name or a Field, or neither.
	Field, Value string
}

// term is what is in the scope in one word; ok is false for all objects.
func (x Indexes) term(of schema.GroupKind, scope Scope) (t term, ok bool, err error) {
	switch {
	case scope.Field != "" && scope.Name != "":
		return t, false, fmt.Errorf("store: the name %q and the field %q in one scope of %s", scope.Name, scope.Field, of)
	case scope.Field != "":
		i := slices.IndexFunc(x, func(index kind.Index[object.Object]) bool { return index.Field == scope.Field })
		if i < 0 {
			return t, false, fmt.Errorf("store: %s has no index of the field %q", of, scope.Field)
		}
		return term{i, scope.Namespace, scope.Value}, true, nil
	case scope.Name != "":
		return term{byName, scope.Namespace, scope.Name}, true, nil
	case scope.Namespace != "":
		return term{byNamespace, scope.Namespace, ""}, true, nil
	}
	return t, false, nil
}

// Indexes are the fields by which objects of a kind are found.
type Indexes []kind.Index[object.Object]

// servedIndexes returns the indexes in the definition of a kind.
func servedIndexes(of schema.GroupKind) Indexes {
	k, ok := scheme.ForKind(of)
	if !ok {
		return nil
	}
	return k.Fields.Indexes
}

// values are those of an object, in the order of the indexes.
func (x Indexes) values(obj object.Object) []string {
	if len(x) == 0 {
		return nil
	}
	values := make([]string, len(x))
	for i, index := range x {
		values[i] = index.Value(obj)
	}
	return values
}

// Indexed returns the indexed fields of a kind, of which a Scope may name one.
func (s *Store) Indexed(of schema.GroupKind) []string {
	var names []string
	for _, index := range s.indexes(of) {
		names = append(names, index.Field)
	}
	return names
}

// term is what an event may be about, and what a follower waits for: a name, a
// value of an indexed field, both in a namespace or in all of them, or a
// namespace.
type term struct {
	// index is that of the field; byName and byNamespace are no fields.
	index            int
	namespace, value string
}

const (
	byName = -1 - iota
	byNamespace
)

// terms shows all that e is about, each once.
func (e event) terms(visit func(term)) {
	namespace := e.entry.key.Namespace
	about := func(index int, value string) {
		visit(term{index, "", value})
		if namespace != "" {
			visit(term{index, namespace, value})
		}
	}
	if namespace != "" {
		visit(term{byNamespace, namespace, ""})
	}
	about(byName, e.entry.key.Name)
	for i, value := range e.entry.indexed {
		about(i, value)
		if e.old != nil && e.old.indexed[i] != value {
			about(i, e.old.indexed[i])
		}
	}
}

// topic knows which events of a history are about a term, as long as somebody
// follows them. Store.mu guards it.
type topic struct {
	term      term
	followers int
	// since is the revision after which all events are known.
	since uint64
	// events are their numbers in the history, oldest first.
	events []uint64
	// forgotten is the revision of the newest of them that is no longer kept.
	forgotten uint64
	// changed is closed and replaced when there are new ones; woken is the
	// newest revision at which it was.
	changed chan struct{}
	woken   uint64
}

// follow finds or makes the topic of a term, for one more follower from after
// revision from, which the history has.
func (h *history) follow(about term, from, current uint64) *topic {
	t := h.topics[about]
	if t == nil {
		t = &topic{term: about, since: current, changed: make(chan struct{})}
		if h.topics == nil {
			h.topics = map[term]*topic{}
		}
		h.topics[about] = t
	}
	t.followers++
	if from < t.since {
		t.events = append(h.about(about, from, t.since), t.events...)
		t.since = from
	}
	return t
}

// about are the numbers of the events after from, up to and including to, that
// are about a term.
func (h *history) about(about term, from, to uint64) (numbers []uint64) {
	for i := h.after(from); i < h.after(to); i++ {
		h.at(i).terms(func(other term) {
			if other == about {
				numbers = append(numbers, h.first+uint64(i))
			}
		})
	}
	return numbers
}

// leave is the end of one follower.
func (h *history) leave(t *topic) {
	if t.followers--; t.followers == 0 {
		delete(h.topics, t.term)
	}
}

// note adds the newest event of the history to its topics, and to wake the
// channels that are to be closed for it.
func (h *history) note(e event, published uint64, wake []chan struct{}) []chan struct{} {
	if len(h.topics) == 0 {
		return wake
	}
	number := h.first + uint64(h.count) - 1
	e.terms(func(about term) {
		t := h.topics[about]
		if t == nil {
			return
		}
		t.events = append(t.events, number)
		if t.woken != published {
			t.woken = published
			wake = append(wake, t.changed)
			t.changed = make(chan struct{})
		}
	})
	return wake
}

// lose takes the oldest event of the history out of its topics.
func (h *history) lose(e event) {
	if len(h.topics) == 0 {
		return
	}
	e.terms(func(about term) {
		if t := h.topics[about]; t != nil && len(t.events) > 0 && t.events[0] == h.first {
			t.events = t.events[1:]
			t.forgotten = e.revision
		}
	})
}

// afterIn are the numbers of the topic's events after revision.
func (h *history) afterIn(t *topic, revision uint64) []uint64 {
	first := sort.Search(len(t.events), func(i int) bool { return h.numbered(t.events[i]).revision > revision })
	return t.events[first:]
}
