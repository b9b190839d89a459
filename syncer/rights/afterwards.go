package rights

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
)

// Afterwards reads the store as it is once a plan is carried out.
type Afterwards struct {
	object.Reader
	Changed map[object.Key]object.Object // nil: deleted
}

// Get implements object.Reader. A deleted namespace takes its contents with it.
func (a Afterwards) Get(key object.Key) object.Object {
	if ns, ok := a.Changed[object.Key{GroupKind: flux.Namespace, Name: key.Namespace}]; ok && ns == nil {
		return nil
	}
	if obj, ok := a.Changed[key]; ok {
		return obj
	}
	return a.Reader.Get(key)
}

// NewAfterwards returns a reader of stored with these changes; nil is a
// deletion.
func NewAfterwards(stored object.Reader, changed map[object.Key]object.Object) Afterwards {
	return Afterwards{stored, changed}
}

// List implements object.Reader.
func (a Afterwards) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	list, revision := a.Reader.List(kind, namespace)
	return a.with(list, kind, namespace), revision
}

// Heads is as of [object.Heads].
func (a Afterwards) Heads(kind schema.GroupKind) ([]object.Object, uint64) {
	list, revision := object.Heads(a.Reader, kind)
	return a.with(list, kind, ""), revision
}

// with is a list with the changes.
func (a Afterwards) with(list []object.Object, kind schema.GroupKind, namespace string) []object.Object {
	concerns := func(key object.Key) bool {
		return key.GroupKind == kind && (namespace == "" || key.Namespace == namespace)
	}
	copied := false
	for key := range a.Changed {
		if !copied && concerns(key) {
			copied = true
			list = slices.DeleteFunc(slices.Clone(list), func(obj object.Object) bool {
				key, err := plan.KeyOf(obj)
				_, changed := a.Changed[key]
				return err == nil && changed
			})
		}
	}
	if !copied {
		return list
	}
	for key, obj := range a.Changed {
		if obj != nil && concerns(key) {
			list = append(list, obj)
		}
	}
	return list
}
