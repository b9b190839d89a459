package admission

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// objects is what plugins may know of the kinds.
var objects admission.ObjectInterfaces = interfaces{runtime.NewEquivalentResourceRegistry()}

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
func (interfaces) GetObjectConvertor() runtime.ObjectConvertor { return scheme.Scheme }

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
