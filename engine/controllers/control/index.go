package control

import (
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/object"
)

// Index finds objects by values computed from them. The feed keeps it up to
// date; it is safe for concurrent use.
type Index struct {
	kinds map[schema.GroupKind]bool // nil for all
	of    func(object.Object) []string

	mu     sync.RWMutex
	values map[string]map[object.Key]object.Object
}

func newIndex(of func(object.Object) []string, kinds []schema.GroupKind) *Index {
	ix := &Index{of: of, values: map[string]map[object.Key]object.Object{}}
	if len(kinds) > 0 {
		ix.kinds = map[schema.GroupKind]bool{}
		for _, k := range kinds {
			ix.kinds[k] = true
		}
	}
	return ix
}

// Get returns the objects under a value, ordered by kind, namespace and name.
// The objects are shared, the slice is the caller's.
func (ix *Index) Get(value string) []object.Object {
	ix.mu.RLock()
	found := ix.values[value]
	keys := make([]object.Key, 0, len(found))
	for k := range found {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	objs := make([]object.Object, len(keys))
	for i, k := range keys {
		objs[i] = found[k]
	}
	ix.mu.RUnlock()
	return objs
}

// Len is the number of objects under a value.
func (ix *Index) Len(value string) int {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	return len(ix.values[value])
}

// Values is how many values there are with an object.
func (ix *Index) Values() int {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	return len(ix.values)
}

// Keys returns the keys of the objects under a value, in no order.
func (ix *Index) Keys(value string) []object.Key {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	keys := make([]object.Key, 0, len(ix.values[value]))
	for k := range ix.values[value] {
		keys = append(keys, k)
	}
	return keys
}

func (ix *Index) observe(ev object.Event) {
	if ix.kinds != nil && !ix.kinds[ev.Key.GroupKind] {
		return
	}
	var before, after []string
	if ev.Old != nil {
		before = ix.of(ev.Old)
	}
	if ev.Type != object.Deleted {
		after = ix.of(ev.Object)
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for _, v := range before {
		if slices.Contains(after, v) {
			continue
		}
		delete(ix.values[v], ev.Key)
		if len(ix.values[v]) == 0 {
			delete(ix.values, v)
		}
	}
	for _, v := range after {
		m := ix.values[v]
		if m == nil {
			m = map[object.Key]object.Object{}
			ix.values[v] = m
		}
		m[ev.Key] = ev.Object
	}
}

// Places tells in which namespace an object is of which nothing but its UID is known. It
// has all objects of namespaces, and is smaller than an Index of them. The feed keeps it up
// to date; it is safe for concurrent use.
type Places struct {
	mu sync.RWMutex
	at map[types.UID]string
}

// Of returns the namespace of the object that has the UID, "" if there is none, or if it
// is in no namespace.
func (p *Places) Of(uid types.UID) string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.at[uid]
}

func (p *Places) observe(ev object.Event) {
	if ev.Key.Namespace == "" || ev.Key.GroupKind == Event {
		return
	}
	uid := ev.Object.GetUID()
	if ev.Type != object.Deleted && ev.Old != nil && ev.Old.GetUID() == uid {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ev.Old != nil {
		delete(p.at, ev.Old.GetUID())
	}
	if ev.Type != object.Deleted {
		p.at[uid] = ev.Key.Namespace
	}
}

func compareKeys(a, b object.Key) int {
	if c := strings.Compare(a.Group, b.Group); c != 0 {
		return c
	}
	if c := strings.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
