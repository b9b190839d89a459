package kind

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// Group is the kinds of one API group, in the order of discovery.
type Group struct {
	// AddToScheme registers the Go types of the whole group.
	AddToScheme func(*runtime.Scheme) error
	Kinds       []*Kind
	// Views are other forms of kinds, of this group or another.
	Views []*View
	// Older are older versions of kinds of this group.
	Older []*Older
}

// Set is a set of kinds that are served together. It is safe for concurrent
// use.
type Set struct {
	list   []*Kind
	views  []*View
	older  []*Older
	byKind map[schema.GroupKind]*Kind
	byType map[reflect.Type]*Kind
}

// NewSet returns the set of the kinds of groups. No two of them may have the
// same name or the same Go type.
func NewSet(groups ...Group) (*Set, error) {
	s := &Set{byKind: map[schema.GroupKind]*Kind{}, byType: map[reflect.Type]*Kind{}}
	for _, g := range groups {
		s.views, s.older = append(s.views, g.Views...), append(s.older, g.Older...)
		for _, k := range g.Kinds {
			t := reflect.TypeOf(k.New())
			if s.byKind[k.GroupKind()] != nil || s.byType[t] != nil {
				return nil, fmt.Errorf("the kind %s is there twice", k.GroupVersionKind)
			}
			s.list = append(s.list, k)
			s.byKind[k.GroupKind()], s.byType[t] = k, k
		}
	}
	return s, nil
}

// All returns the kinds in the order of discovery. The caller must not change
// the list.
func (s *Set) All() []*Kind { return s.list }

// ForKind finds a kind by its name.
func (s *Set) ForKind(gk schema.GroupKind) (*Kind, bool) {
	k, ok := s.byKind[gk]
	return k, ok
}

// ForObject finds the kind of an object by its Go type, so that it also works
// for objects without TypeMeta.
func (s *Set) ForObject(obj object.Object) (*Kind, bool) {
	k, ok := s.byType[reflect.TypeOf(obj)]
	return k, ok
}

// Views returns the views, in the order of their groups. The caller must not
// change the list.
func (s *Set) Views() []*View { return s.views }

// Older returns the older versions, in the order of their groups. The caller must not
// change the list.
func (s *Set) Older() []*Older { return s.older }
