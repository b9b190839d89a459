package health

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/object"
)

// Dependents returns the objects of a kind whose controller is owner, which is in
// the same namespace. Of many owners it is asked through Indexed.
func Dependents(reader object.Reader, kind schema.GroupKind, owner object.Object) []object.Object {
	if r, ok := reader.(*indexed); ok {
		return r.dependents(kind, owner)
	}
	list, _ := reader.List(kind, owner.GetNamespace())
	var out []object.Object
	for _, o := range list {
		if controllerOf(o) == owner.GetUID() {
			out = append(out, o)
		}
	}
	return out
}

// Indexed returns a reader that finds Dependents and events by a list of a namespace that
// it makes once: without it, what is asked of each of many owners costs the square of
// their number. It is for one look at the cluster: later changes may be missed. It is
// for one goroutine.
func Indexed(reader object.Reader) object.Reader {
	if _, ok := reader.(*indexed); ok || reader == nil {
		return reader
	}
	return &indexed{Reader: reader, lists: map[place]map[types.UID][]object.Object{}, said: map[string]map[types.UID]*events{}}
}

type place struct {
	kind      schema.GroupKind
	namespace string
}

type indexed struct {
	object.Reader

	lists map[place]map[types.UID][]object.Object
	// said has, by namespace, what events say of each object.
	said map[string]map[types.UID]*events
}

func (r *indexed) dependents(kind schema.GroupKind, owner object.Object) []object.Object {
	at := place{kind, owner.GetNamespace()}
	byOwner := r.lists[at]
	if byOwner == nil {
		byOwner = map[types.UID][]object.Object{}
		list, _ := r.List(kind, at.namespace)
		for _, o := range list {
			if uid := controllerOf(o); uid != "" {
				byOwner[uid] = append(byOwner[uid], o)
			}
		}
		r.lists[at] = byOwner
	}
	return byOwner[owner.GetUID()]
}

// controllerOf is the UID of an object's controller; empty if it has none.
func controllerOf(o object.Object) types.UID {
	for _, ref := range o.GetOwnerReferences() {
		if ptr.Deref(ref.Controller, false) {
			return ref.UID
		}
	}
	return ""
}
