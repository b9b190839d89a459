package scheme

import (
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/kinds/apiextensions"
	"headway.dev/manifests/model/object"
)

// Set is the kinds of one moment: Headway's own, and those that definitions define.
// It is never changed. Nil has Headway's own.
type Set struct {
	kinds  []*kind.Kind
	byKind map[schema.GroupKind]*kind.Kind
	// custom are the kinds that definitions define, by the definitions' names.
	custom map[string]*kind.Kind
}

func newSet(custom map[string]*kind.Kind) *Set {
	next := &Set{kinds: slices.Clone(served.All()), byKind: map[schema.GroupKind]*kind.Kind{}, custom: custom}
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

// With returns the set with the kinds of further definitions, or of other states of
// those that it has: as they will be once their names are accepted.
func (s *Set) With(definitions ...*apiextensionsv1.CustomResourceDefinition) *Set {
	custom := map[string]*kind.Kind{}
	if s != nil {
		maps.Copy(custom, s.custom)
	}
	changed := false
	for _, crd := range definitions {
		old := custom[crd.Name]
		if old != nil && old.Custom.Same(crd) {
			continue
		}
		k, ok := apiextensions.Declared(crd)
		if !ok {
			continue
		}
		if old == nil && s != nil && s.byKind[k.GroupKind()] != nil {
			continue // another has the name
		}
		custom[crd.Name], changed = k, true
	}
	if !changed {
		return s
	}
	return newSet(custom)
}

// Kinds returns all kinds: Headway's own in discovery order, then the custom ones.
// The caller must not change the list.
func (s *Set) Kinds() []*kind.Kind {
	if s == nil {
		return served.All()
	}
	return s.kinds
}

// Custom returns the kinds that CustomResourceDefinitions define. The caller must
// not change the list.
func (s *Set) Custom() []*kind.Kind { return s.Kinds()[len(served.All()):] }

// ForKind finds a kind by its name.
func (s *Set) ForKind(gk schema.GroupKind) (*kind.Kind, bool) {
	if k, ok := served.ForKind(gk); ok || s == nil {
		return k, ok
	}
	k, ok := s.byKind[gk]
	return k, ok
}

// ForObject finds the kind of an object: by its Go type or, if it has none of its
// own, by what it says that it is.
func (s *Set) ForObject(obj object.Object) (*kind.Kind, bool) {
	if k, ok := served.ForObject(obj); ok || s == nil {
		return k, ok
	}
	return s.ForKind(obj.GetObjectKind().GroupVersionKind().GroupKind())
}

// ForResource finds the kind that a resource is of.
func (s *Set) ForResource(resource schema.GroupResource) (*kind.Kind, bool) {
	if s != nil {
		if k, ok := s.custom[resource.String()]; ok {
			return k, true
		}
	}
	i := slices.IndexFunc(served.All(), func(k *kind.Kind) bool { return k.Resource().GroupResource() == resource })
	if i < 0 {
		return nil, false
	}
	return served.All()[i], true
}
