package store

import (
	"iter"
	"maps"
	"reflect"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/third_party/forked/golang/btree"

	"headway.dev/manifests/model/object"
)

// entry is the state of one key. It is immutable.
type entry struct {
	key      object.Key
	object   object.Object
	revision uint64
	// size is that of the encoded object, in bytes.
	size int64
	// indexed are the values of the kind's indexed fields, in their order.
	indexed []string
}

type tree = btree.BTree[*entry]

func newTree() *tree { return btree.New(32, entryLess) }

func entryLess(a, b *entry) bool {
	if a.key.Namespace != b.key.Namespace {
		return a.key.Namespace < b.key.Namespace
	}
	return a.key.Name < b.key.Name
}

// state is all objects at one revision. It is immutable once published; the
// writer's working state is the same type.
type state struct {
	revision uint64
	kinds    map[schema.GroupKind]*tree
}

func (s *state) entry(key object.Key) *entry {
	t := s.kinds[key.GroupKind]
	if t == nil {
		return nil
	}
	e, _ := t.Get(&entry{key: key})
	return e
}

func (s *state) get(key object.Key) object.Object {
	if e := s.entry(key); e != nil {
		return e.object
	}
	return nil
}

func (s *state) list(kind schema.GroupKind, namespace string) []object.Object {
	t := s.kinds[kind]
	if t == nil {
		return nil
	}
	if namespace == "" {
		objs := make([]object.Object, 0, t.Len())
		t.Ascend(func(e *entry) bool {
			objs = append(objs, e.object)
			return true
		})
		return objs
	}
	var objs []object.Object
	for e := range from(t, namespace, "") {
		if e.key.Namespace != namespace {
			break
		}
		objs = append(objs, e.object)
	}
	return objs
}

// from iterates over t from namespace and name (inclusive) on.
func from(t *tree, namespace, name string) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		pivot := &entry{key: object.Key{Namespace: namespace, Name: name}}
		t.AscendGreaterOrEqual(pivot, yield)
	}
}

// view is a state as the hooks of a transaction read it.
type view struct{ *state }

func (v view) Get(key object.Key) object.Object { return v.get(key) }

func (v view) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	return v.list(kind, namespace), v.revision
}

// withVersion returns a copy of obj with the resourceVersion set. Only the top
// of the object is copied: all below is shared, and nobody changes it.
func withVersion(obj object.Object, revision uint64) object.Object {
	version := strconv.FormatUint(revision, 10)
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return unstructuredWithVersion(u, version)
	}
	value := reflect.ValueOf(obj).Elem()
	dup := reflect.New(value.Type())
	dup.Elem().Set(value)
	next := dup.Interface().(object.Object)
	next.SetResourceVersion(version)
	return next
}

func unstructuredWithVersion(u *unstructured.Unstructured, version string) object.Object {
	top := make(map[string]any, len(u.Object)+1)
	maps.Copy(top, u.Object)
	meta := map[string]any{}
	if old, ok := top["metadata"].(map[string]any); ok {
		maps.Copy(meta, old)
	}
	meta["resourceVersion"] = version
	top["metadata"] = meta
	return &unstructured.Unstructured{Object: top}
}
