package kind

import (
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/object"
)

// View is another form in which the objects of a kind are served, in another
// group and with another Go type. It has no objects of its own: what is written
// in one form is read in both. It is immutable.
type View struct {
	ViewDefinition[object.Object, object.Object]
	// Of is the kind whose objects they are.
	Of *Kind
	// New and NewList return empty values of the view's types.
	New     func() object.Object
	NewList func() runtime.Object
	// SetItems replaces the items of a list of the view.
	SetItems func(list runtime.Object, items []object.Object)

	typ, stored reflect.Type
}

// Is reports whether obj has the Go type of the view.
func (v *View) Is(obj object.Object) bool { return reflect.TypeOf(obj) == v.typ }

// IsOf reports whether obj has the Go type of what is stored.
func (v *View) IsOf(obj object.Object) bool { return reflect.TypeOf(obj) == v.stored }

// ViewDefinition is what is particular to a view with the Go type V of a kind
// with the Go type T, both pointers.
type ViewDefinition[V, T object.Object] struct {
	Names
	// From returns the view of a stored object, and To the object that a view
	// is of. Both share what they can with their argument.
	From func(stored T) V
	To   func(view V) T
	// Fields are the names of selectable fields of the view, and what the
	// stored object's are called.
	Fields map[string]string
	// Create and Update are rules that hold, in addition to those of the kind,
	// for what is written in this form. They see stored objects.
	Create func(obj T) field.ErrorList
	Update func(obj, old T) field.ErrorList
}

// DefineView makes a view of the kind stored, whose objects are of the type T, as
// objects of the type V in lists of the type L.
func DefineView[V, L, T any, PV interface {
	*V
	object.Object
}, PL interface {
	*L
	runtime.Object
}, PT interface {
	*T
	object.Object
}](stored *Kind, setItems func(list PL, items []V), d ViewDefinition[PV, PT]) *View {
	v := &View{
		typ:     reflect.TypeFor[PV](),
		stored:  reflect.TypeFor[PT](),
		Of:      stored,
		New:     func() object.Object { return PV(new(V)) },
		NewList: func() runtime.Object { return PL(new(L)) },
		SetItems: func(list runtime.Object, items []object.Object) {
			out := make([]V, len(items))
			for i, item := range items {
				out[i] = *item.(PV)
			}
			setItems(list.(PL), out)
		},
	}
	v.Names, v.Fields = d.Names, d.Fields
	v.From = func(stored object.Object) object.Object { return d.From(stored.(PT)) }
	v.To = func(view object.Object) object.Object { return d.To(view.(PV)) }
	v.Create, v.Update = of(d.Create), both(d.Update)
	return v
}
