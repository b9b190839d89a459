package scheme

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/kinds/apiextensions"
	"headway.dev/manifests/model/object"
)

// Registry knows the kinds of one server: those that every Headway serves, and
// those that its CustomResourceDefinitions define, which come and go. It learns
// of them from the events of the store ([Registry.Observe]). The zero value knows
// Headway's own kinds, and so does nil. It is safe for concurrent use; reading
// takes no lock.
type Registry struct {
	writing sync.Mutex
	current atomic.Pointer[registered]
}

// registered is a state of the registry. It is never changed.
type registered struct {
	*Set
	// changed is closed when there is a newer state.
	changed chan struct{}
}

func newRegistered(custom map[string]*kind.Kind) *registered {
	return &registered{newSet(custom), make(chan struct{})}
}

func (r *Registry) state() *registered {
	if s := r.current.Load(); s != nil {
		return s
	}
	r.current.CompareAndSwap(nil, newRegistered(nil))
	return r.current.Load()
}

// Set returns the kinds of now.
func (r *Registry) Set() *Set {
	if r == nil {
		return nil
	}
	return r.state().Set
}

// Kinds returns all kinds: Headway's own in discovery order, then the custom ones.
// The caller must not change the list.
func (r *Registry) Kinds() []*kind.Kind { return r.Set().Kinds() }

// Custom returns the kinds that CustomResourceDefinitions define. The caller must
// not change the list.
func (r *Registry) Custom() []*kind.Kind { return r.Set().Custom() }

// ForKind finds a kind by its name.
func (r *Registry) ForKind(gk schema.GroupKind) (*kind.Kind, bool) { return r.Set().ForKind(gk) }

// ForResource finds the kind that a resource is of.
func (r *Registry) ForResource(resource schema.GroupResource) (*kind.Kind, bool) {
	return r.Set().ForResource(resource)
}

// Changed returns a channel that is closed when kinds have come, gone or changed.
// Ask for it before the kinds, so that nothing is missed. Nil never changes.
func (r *Registry) Changed() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.state().changed
}

// Observe learns of the definitions among the events of the store. It is told of
// all of them, in their order.
func (r *Registry) Observe(events []object.Event) {
	if !slices.ContainsFunc(events, ofDefinition) {
		return
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	old := r.state()
	custom := maps.Clone(old.custom)
	if custom == nil {
		custom = map[string]*kind.Kind{}
	}
	for _, e := range events {
		if !ofDefinition(e) {
			continue
		}
		crd, ok := e.Object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok || e.Type == object.Deleted {
			delete(custom, e.Key.Name)
			continue
		}
		k, ok := apiextensions.Defined(crd)
		switch had := custom[e.Key.Name]; {
		case !ok:
			delete(custom, e.Key.Name)
		case had == nil || !apiextensions.SameKind(had, k):
			custom[e.Key.Name] = k
		}
	}
	r.current.Store(newRegistered(custom))
	close(old.changed)
}

// Definition is the kind that defines kinds.
var Definition = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition").GroupKind()

func ofDefinition(e object.Event) bool { return e.Key.GroupKind == Definition }
