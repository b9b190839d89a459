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
// Headway's own kinds. It is safe for concurrent use; reading takes no lock.
type Registry struct {
	writing sync.Mutex
	current atomic.Pointer[registered]
}

// registered is a state of the registry. It is never changed.
type registered struct {
	kinds  []*kind.Kind
	byKind map[schema.GroupKind]*kind.Kind
	// custom are the kinds that definitions define, by the definitions' names.
	custom map[string]*kind.Kind
	// changed is closed when there is a newer state.
	changed chan struct{}
}

func newRegistered(custom map[string]*kind.Kind) *registered {
	next := &registered{kinds: slices.Clone(served.All()), byKind: map[schema.GroupKind]*kind.Kind{}, custom: custom, changed: make(chan struct{})}
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		k := custom[name]
		// Headway's own kinds are not replaced, and of two definitions of one kind
		// the names of the second are not accepted.
		if _, own := served.ForKind(k.GroupKind()); !own && next.byKind[k.GroupKind()] == nil {
			next.kinds = append(next.kinds, k)
			next.byKind[k.GroupKind()] = k
		}
	}
	return next
}

func (r *Registry) state() *registered {
	if s := r.current.Load(); s != nil {
		return s
	}
	r.current.CompareAndSwap(nil, newRegistered(nil))
	return r.current.Load()
}

// Kinds returns all kinds: Headway's own in discovery order, then the custom ones.
// The caller must not change the list.
func (r *Registry) Kinds() []*kind.Kind { return r.state().kinds }

// Custom returns the kinds that CustomResourceDefinitions define. The caller must
// not change the list.
func (r *Registry) Custom() []*kind.Kind { return r.state().kinds[len(served.All()):] }

// ForKind finds a kind by its name.
func (r *Registry) ForKind(gk schema.GroupKind) (*kind.Kind, bool) {
	if k, ok := served.ForKind(gk); ok {
		return k, true
	}
	k, ok := r.state().byKind[gk]
	return k, ok
}

// ForResource finds the kind that a resource is of.
func (r *Registry) ForResource(resource schema.GroupResource) (*kind.Kind, bool) {
	if k, ok := r.state().custom[resource.String()]; ok {
		return k, true
	}
	i := slices.IndexFunc(served.All(), func(k *kind.Kind) bool { return k.Resource().GroupResource() == resource })
	if i < 0 {
		return nil, false
	}
	return served.All()[i], true
}

// Changed returns a channel that is closed when kinds have come, gone or changed.
// Ask for it before the kinds, so that nothing is missed.
func (r *Registry) Changed() <-chan struct{} { return r.state().changed }

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
		delete(custom, e.Key.Name)
		if crd, ok := e.Object.(*apiextensionsv1.CustomResourceDefinition); ok && e.Type != object.Deleted {
			if k, ok := apiextensions.Defined(crd); ok {
				custom[e.Key.Name] = k
			}
		}
	}
	r.current.Store(newRegistered(custom))
	close(old.changed)
}

// definition is the kind that defines kinds.
var definition = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition").GroupKind()

func ofDefinition(e object.Event) bool { return e.Key.GroupKind == definition }
