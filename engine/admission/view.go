package admission

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

type viewKey struct{}

// WithView makes view what plugins read.
func WithView(ctx context.Context, view object.Reader) context.Context {
	return context.WithValue(ctx, viewKey{}, view)
}

// View returns what a plugin has to read of the cluster: stored, unless what it
// judges comes upon something that is not stored yet.
func View(ctx context.Context, stored object.Reader) object.Reader {
	if view, ok := ctx.Value(viewKey{}).(object.Reader); ok {
		return view
	}
	return stored
}

// InProcess reports whether a plugin is asked about what this process writes, or
// only thinks of, and not about a request.
func InProcess(ctx context.Context) bool { return ctx.Value(viewKey{}) != nil }

// overlay is a state of the cluster with changes upon it.
type overlay struct {
	object.Reader
	changed map[object.Key]object.Object // nil: removed
	// kinds are the keys of changed by kind: a transaction of thousands of objects
	// asks for the few of one kind with each of them.
	kinds map[schema.GroupKind]map[object.Key]bool
}

// newOverlay returns a state without changes.
func newOverlay(stored object.Reader) *overlay {
	return &overlay{Reader: stored, changed: map[object.Key]object.Object{}, kinds: map[schema.GroupKind]map[object.Key]bool{}}
}

// put changes an object, or removes it if obj is nil.
func (o *overlay) put(key object.Key, obj object.Object) {
	o.changed[key] = obj
	keys := o.kinds[key.GroupKind]
	if keys == nil {
		keys = map[object.Key]bool{}
		o.kinds[key.GroupKind] = keys
	}
	keys[key] = true
}

// Get implements object.Reader.
func (o *overlay) Get(key object.Key) object.Object {
	if obj, ok := o.changed[key]; ok {
		return obj
	}
	return o.Reader.Get(key)
}

// List implements object.Reader.
func (o *overlay) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	list, revision := o.Reader.List(kind, namespace)
	return o.with(list, kind, namespace), revision
}

// Heads is as of [object.Heads].
func (o *overlay) Heads(kind schema.GroupKind) ([]object.Object, uint64) {
	list, revision := object.Heads(o.Reader, kind)
	return o.with(list, kind, ""), revision
}

// with is a list with the changes.
func (o *overlay) with(list []object.Object, kind schema.GroupKind, namespace string) []object.Object {
	var added []object.Object
	found := false
	for key := range o.kinds[kind] {
		if namespace != "" && key.Namespace != namespace {
			continue
		}
		if obj := o.changed[key]; obj != nil {
			added = append(added, obj)
		}
		found = true
	}
	if !found {
		return list
	}
	list = slices.DeleteFunc(slices.Clone(list), func(obj object.Object) bool {
		key, err := scheme.KeyOf(obj)
		_, changed := o.changed[key]
		return err == nil && changed
	})
	return append(list, added...)
}
