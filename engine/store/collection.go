package store

import (
	"iter"
	"sort"
	"sync"

	"github.com/tidwall/btree"

	"headway.dev/manifests/model/object"
)

// collection is the objects of one kind, by their keys and by the kind's indexed
// fields. A nil one is empty.
type collection struct {
	tree *btree.BTreeG[*entry]
	// indexed are the keys by the values of each indexed field: what keeps its
	// value changes nothing there.
	indexed []*btree.BTreeG[indexed]
}

// indexed is the key of an object that has a value.
type indexed struct{ value, namespace, name string }

func newCollection(indexes int) *collection {
	c := &collection{tree: btree.NewBTreeGOptions(entryLess, btree.Options{NoLocks: true})}
	for range indexes {
		c.indexed = append(c.indexed, btree.NewBTreeGOptions(indexedLess, btree.Options{NoLocks: true}))
	}
	return c
}

func entryLess(a, b *entry) bool {
	if a.key.Namespace != b.key.Namespace {
		return a.key.Namespace < b.key.Namespace
	}
	return a.key.Name < b.key.Name
}

func indexedLess(a, b indexed) bool {
	switch {
	case a.value != b.value:
		return a.value < b.value
	case a.namespace != b.namespace:
		return a.namespace < b.namespace
	}
	return a.name < b.name
}

// clone returns a copy that is independent of c; they share what neither
// changes. It writes to c, but not to what readers of c look at.
func (c *collection) clone() *collection {
	next := &collection{tree: c.tree.Copy()}
	for _, index := range c.indexed {
		next.indexed = append(next.indexed, index.Copy())
	}
	return next
}

// put makes e the state of its key.
func (c *collection) put(e *entry) {
	old, _ := c.tree.Set(e)
	c.reindex(old, e)
}

// remove removes a key.
func (c *collection) remove(key object.Key) {
	old, _ := c.tree.Delete(at(key.Namespace, key.Name))
	c.reindex(old, nil)
}

// reindex replaces what the indexes have of old, if there was one, by what is to
// be found as next, if there is one.
func (c *collection) reindex(old, next *entry) {
	for i, index := range c.indexed {
		if old != nil && next != nil && old.indexed[i] == next.indexed[i] {
			continue
		}
		if old != nil {
			index.Delete(indexed{old.indexed[i], old.key.Namespace, old.key.Name})
		}
		if next != nil {
			index.Set(indexed{next.indexed[i], next.key.Namespace, next.key.Name})
		}
	}
}

// at is an entry to be compared with others.
func at(namespace, name string) *entry {
	return &entry{key: object.Key{Namespace: namespace, Name: name}}
}

func (c *collection) len() int {
	if c == nil {
		return 0
	}
	return c.tree.Len()
}

// get returns nil if there is no such object.
func (c *collection) get(namespace, name string) *entry {
	if c == nil {
		return nil
	}
	probe := probes.Get().(*entry)
	defer probes.Put(probe)
	probe.key.Namespace, probe.key.Name = namespace, name
	e, _ := c.tree.Get(probe)
	return e
}

// probes are entries to look for others with.
var probes = sync.Pool{New: func() any { return &entry{} }}

// from iterates from namespace and name (inclusive) on.
func (c *collection) from(namespace, name string) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		if c != nil {
			c.tree.Ascend(at(namespace, name), yield)
		}
	}
}

// first returns the first object from namespace and name on, nil if there is
// none.
func (c *collection) first(namespace, name string) *entry {
	for e := range c.from(namespace, name) {
		return e
	}
	return nil
}

// in iterates over the objects that are about a term, from namespace and name on.
func (c *collection) in(about term, namespace, name string) iter.Seq[*entry] {
	switch {
	case c == nil:
		return func(func(*entry) bool) {}
	case about.index == byNamespace:
		return c.inNamespace(about.namespace, namespace, name)
	case about.index == byName:
		return c.named(about, namespace, name)
	}
	return c.having(about, namespace, name)
}

func (c *collection) inNamespace(wanted, namespace, name string) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		if namespace < wanted {
			namespace, name = wanted, ""
		}
		for e := range c.from(namespace, name) {
			if e.key.Namespace != wanted || !yield(e) {
				return
			}
		}
	}
}

// named goes from namespace to namespace, and looks for the name in each.
func (c *collection) named(about term, namespace, name string) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		if about.namespace != "" {
			e := c.get(about.namespace, about.value)
			if e != nil && !entryLess(e, at(namespace, name)) {
				yield(e)
			}
			return
		}
		if name > about.value {
			namespace += "\x00" // the next one
		}
		for e := c.first(namespace, about.value); e != nil; {
			// The name is in the namespace of e, or nowhere before the next one.
			found := c.get(e.key.Namespace, about.value)
			if found != nil && !yield(found) {
				return
			}
			e = c.first(e.key.Namespace+"\x00", "")
		}
	}
}

// having finds the objects by the value of an indexed field.
func (c *collection) having(about term, namespace, name string) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		if namespace < about.namespace {
			namespace, name = about.namespace, ""
		}
		c.indexed[about.index].Ascend(indexed{about.value, namespace, name}, func(i indexed) bool {
			if i.value != about.value || about.namespace != "" && i.namespace != about.namespace {
				return false
			}
			return yield(c.get(i.namespace, i.name))
		})
	}
}

// count is how many objects there are from namespace and name on, of the
// namespace within, or of all if it is empty.
func (c *collection) count(within, namespace, name string) int {
	end := c.len()
	if within != "" {
		end = c.before(within+"\x00", "")
	}
	return end - c.before(namespace, name)
}

// before is how many objects there are before namespace and name. The tree knows
// how many there are in each of its parts.
func (c *collection) before(namespace, name string) int {
	pivot := at(namespace, name)
	return sort.Search(c.len(), func(i int) bool {
		e, _ := c.tree.GetAt(i)
		return !entryLess(e, pivot)
	})
}
