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

// overlay is a state of the cluster with changes upon it.
type overlay struct {
	object.Reader
	changed map[object.Key]object.Object // nil: removed
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
	concerns := func(key object.Key) bool {
		return key.GroupKind == kind && (namespace == "" || key.Namespace == namespace)
	}
	var added []object.Object
	found := false
	for key, obj := range o.changed {
		if !concerns(key) {
			continue
		}
		if found = true; obj != nil {
			added = append(added, obj)
		}
	}
	if !found {
		return list, revision
	}
	list = slices.DeleteFunc(slices.Clone(list), func(obj object.Object) bool {
		key, err := scheme.KeyOf(obj)
		_, changed := o.changed[key]
		return err == nil && changed
	})
	return append(list, added...), revision
}
