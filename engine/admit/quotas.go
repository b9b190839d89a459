package admit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/quota"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// charges writes into the quotas of a namespace what an event makes of them, and
// refuses the transaction if that is too much.
func (a *Admission) charges(view object.Reader, ev object.Event) []change.Change {
	next, old := ev.Object, ev.Old
	if ev.Type == object.Deleted {
		next, old = nil, ev.Object
	}
	var changes []change.Change
	for _, q := range quota.Of(view, ev.Key.Namespace) {
		key := object.KeyOf(quota.Kind, q)
		if key == ev.Key {
			continue // it counted itself
		}
		charged, err := a.quotas.Charge(view, q, ev.Key, next, old)
		if charged == q {
			continue
		}
		changes = append(changes, change.Change{Key: key, Subresource: "status", Always: true, Mutate: func(object.Object) (object.Object, error) {
			if err != nil {
				return nil, err
			}
			return charged, nil
		}})
	}
	return changes
}

// recalculate has a new quota, and one that has changed, say at once what is used.
func (a *Admission) recalculate(view object.Reader, next, old object.Object) (object.Object, error) {
	q, ok := next.(*corev1.ResourceQuota)
	if !ok {
		return next, nil
	}
	was, _ := old.(*corev1.ResourceQuota)
	if !quota.Changed(q, was) {
		return next, nil
	}
	view = with{view, object.KeyOf(quota.Kind, q), q}
	return a.quotas.Recalculate(view, q), nil
}

// with is a state of the cluster with one object in the place of its former state.
type with struct {
	object.Reader
	key object.Key
	obj object.Object
}

// Get implements object.Reader.
func (w with) Get(key object.Key) object.Object {
	if key == w.key {
		return w.obj
	}
	return w.Reader.Get(key)
}

// List implements object.Reader.
func (w with) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	list, revision := w.Reader.List(kind, namespace)
	if kind != w.key.GroupKind || namespace != "" && namespace != w.key.Namespace {
		return list, revision
	}
	list = slices.DeleteFunc(slices.Clone(list), func(obj object.Object) bool { return object.KeyOf(kind, obj) == w.key })
	return append(list, w.obj), revision
}
