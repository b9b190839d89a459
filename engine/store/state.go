package store

import (
	"maps"
	"reflect"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// entry is the state of one key. It is immutable.
type entry struct {
	key object.Key
	// kept is the object of a kind that is not kept packed; packed is that of one that is.
	kept     object.Object
	packed   object.Packed
	revision uint64
	// size is that of the encoded object, in bytes.
	size int64
	// indexed are the values of the kind's indexed fields, in their order.
	indexed []string
}

// newEntry returns the entry of obj, which does not change any more.
func newEntry(key object.Key, obj object.Object, revision uint64, indexed []string) *entry {
	e := &entry{key: key, revision: revision, indexed: indexed}
	if k, ok := scheme.ForKind(key.GroupKind); ok && k.Pack != nil {
		e.packed = k.Pack(obj)
	} else {
		e.kept = obj
	}
	return e
}

// object is the state.
func (e *entry) object() object.Object {
	if e.packed != nil {
		return e.packed.Whole()
	}
	return e.kept
}

// head is the state without what is large if it is packed.
func (e *entry) head() object.Object {
	if e.packed != nil {
		return e.packed.Head()
	}
	return e.kept
}

// state is all objects at one revision. It is immutable once published; the
// writer's working state is the same type.
type state struct {
	revision uint64
	kinds    map[schema.GroupKind]*collection
}

func (s *state) entry(key object.Key) *entry {
	return s.kinds[key.GroupKind].get(key.Namespace, key.Name)
}

func (s *state) get(key object.Key) object.Object {
	if e := s.entry(key); e != nil {
		return e.object()
	}
	return nil
}

func (s *state) list(kind schema.GroupKind, namespace string) []object.Object {
	c := s.kinds[kind]
	if c == nil {
		return nil
	}
	var objs []object.Object
	if namespace == "" {
		objs = make([]object.Object, 0, c.len())
	}
	for e := range c.from(namespace, "") {
		if namespace != "" && e.key.Namespace != namespace {
			break
		}
		objs = append(objs, e.object())
	}
	return objs
}

func (s *state) heads(kind schema.GroupKind) []object.Object {
	c := s.kinds[kind]
	if c == nil {
		return nil
	}
	objs := make([]object.Object, 0, c.len())
	for e := range c.from("", "") {
		objs = append(objs, e.head())
	}
	return objs
}

// view is a state as the hooks of a transaction read it.
type view struct{ *state }

func (v view) Get(key object.Key) object.Object { return v.get(key) }

func (v view) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	return v.list(kind, namespace), v.revision
}

// Head is what object.Head asks for.
func (v view) Head(key object.Key) object.Object {
	if e := v.entry(key); e != nil {
		return e.head()
	}
	return nil
}

// Heads is what object.Heads asks for.
func (v view) Heads(kind schema.GroupKind) ([]object.Object, uint64) {
	return v.heads(kind), v.revision
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
