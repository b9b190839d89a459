package admission

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// objects is what plugins may know of the kinds.
var objects admission.ObjectInterfaces = interfaces{newEquivalents()}

// Interfaces returns what plugins may know of the kinds for a request that brings
// given: of kinds that are not in manifests/model/scheme, only that knows.
func Interfaces(attrs admission.Attributes, given admission.ObjectInterfaces) admission.ObjectInterfaces {
	if scheme.Scheme.Recognizes(attrs.GetKind()) {
		return objects
	}
	return given
}

// Forms returns the other resources as which the objects of one are served, too.
func Forms(resource schema.GroupResource) []schema.GroupResource {
	var forms []schema.GroupResource
	for _, v := range scheme.Views() {
		switch view, stored := v.Resource().GroupResource(), v.Of.Resource().GroupResource(); resource {
		case stored:
			forms = append(forms, view)
		case view:
			forms = append(forms, stored)
		}
	}
	return forms
}

// newEquivalents knows the views, whose objects are those of their kinds.
func newEquivalents() runtime.EquivalentResourceMapper {
	registry := runtime.NewEquivalentResourceRegistryWithIdentity(func(resource schema.GroupResource) string {
		for _, v := range scheme.Views() {
			if v.Resource().GroupResource() == resource {
				resource = v.Of.Resource().GroupResource()
			}
		}
		return resource.String()
	})
	register := func(n kind.Names) { registry.RegisterKindFor(n.Resource(), "", n.GroupVersionKind) }
	for _, k := range scheme.Kinds() {
		register(k.Names)
	}
	for _, o := range scheme.Older() {
		register(o.Names)
	}
	for _, v := range scheme.Views() {
		register(v.Names)
	}
	return registry
}

// interfaces implements admission.ObjectInterfaces.
type interfaces struct {
	equivalents runtime.EquivalentResourceMapper
}

// GetObjectCreater implements admission.ObjectInterfaces.
func (interfaces) GetObjectCreater() runtime.ObjectCreater { return scheme.Scheme }

// GetObjectTyper implements admission.ObjectInterfaces.
func (interfaces) GetObjectTyper() runtime.ObjectTyper { return scheme.Scheme }

// GetObjectDefaulter implements admission.ObjectInterfaces.
func (interfaces) GetObjectDefaulter() runtime.ObjectDefaulter { return defaulter{} }

// GetObjectConvertor implements admission.ObjectInterfaces.
func (interfaces) GetObjectConvertor() runtime.ObjectConvertor { return convertor{scheme.Scheme} }

// GetEquivalentResourceMapper implements admission.ObjectInterfaces.
func (i interfaces) GetEquivalentResourceMapper() runtime.EquivalentResourceMapper {
	return i.equivalents
}

type defaulter struct{}

// Default implements runtime.ObjectDefaulter.
func (defaulter) Default(obj runtime.Object) {
	if o, ok := obj.(object.Object); ok {
		defaults.Apply(o)
	}
}

// convertor converts between the versions of a kind, which are one Go type, and
// between views and their kinds.
type convertor struct{ *runtime.Scheme }

// Convert implements runtime.ObjectConvertor. out shares everything but its outer
// struct with in.
func (convertor) Convert(in, out, _ any) error {
	from, to := reflect.ValueOf(in), reflect.ValueOf(out)
	for _, o := range scheme.Older() {
		older, stored := reflect.TypeOf(o.New()), reflect.TypeOf(o.Of.New())
		if from.Type() == older && to.Type() == stored || from.Type() == stored && to.Type() == older {
			return scheme.Scheme.Convert(in, out, nil)
		}
	}
	if from.Type() != to.Type() {
		obj, ok := in.(object.Object)
		if !ok {
			return fmt.Errorf("converting (%T) to (%T): unknown conversion", in, out)
		}
		for _, v := range scheme.Views() {
			switch {
			case v.Is(obj) && to.Type() == reflect.TypeOf(v.Of.New()):
				from = reflect.ValueOf(v.To(obj))
			case v.IsOf(obj) && to.Type() == reflect.TypeOf(v.New()):
				from = reflect.ValueOf(v.From(obj))
			}
		}
	}
	if from.Type() != to.Type() || from.Kind() != reflect.Pointer || from.IsNil() || to.IsNil() {
		return fmt.Errorf("converting (%T) to (%T): unknown conversion", in, out)
	}
	to.Elem().Set(from.Elem())
	return nil
}
