// Package kind says what a kind of the API is made of: its names, its types and
// all that holds for it alone. A kind is one [Definition], in a file of
// manifests/model/kinds; [Define] makes a [Kind] of it, and a [Set] holds the
// kinds that are served.
package kind

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// Kind describes one kind. It is immutable.
type Kind struct {
	Definition[object.Object]
	// New and NewList return empty values.
	New     func() object.Object
	NewList func() runtime.Object
}

// Names are what a kind is called.
type Names struct {
	schema.GroupVersionKind
	// Plural and Singular are the resource's names in paths and on the
	// command line; ShortNames and Categories are kubectl's.
	Plural, Singular       string
	ShortNames, Categories []string
	Namespaced             bool
}

// Resource is the kind's group, version and plural name.
func (n Names) Resource() schema.GroupVersionResource {
	return n.GroupVersion().WithResource(n.Plural)
}

// Definition is all that is particular to a kind with the Go type T, a pointer.
type Definition[T object.Object] struct {
	Names
	// Status and Scale say which subresources there are.
	Status, Scale bool
}

// Define makes the kind whose objects are of the type T and whose lists are of
// the type L.
func Define[T, L any, PT interface {
	*T
	object.Object
}, PL interface {
	*L
	runtime.Object
}](d Definition[PT]) *Kind {
	return &Kind{
		Definition: Definition[object.Object]{
			Names:  d.Names,
			Status: d.Status,
			Scale:  d.Scale,
		},
		New:     func() object.Object { return PT(new(T)) },
		NewList: func() runtime.Object { return PL(new(L)) },
	}
}
