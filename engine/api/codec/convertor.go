package codec

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/api/fields"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Convertor converts between the versions of a scheme in which all versions of
// a kind are one Go type: it only stamps the kind, on a shallow copy. Between a
// view and its kind it converts by the view.
type Convertor struct{ *runtime.Scheme }

// ConvertToVersion implements runtime.ObjectConvertor. The result shares
// everything but its outer struct with in.
func (c Convertor) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	return c.UnsafeConvertToVersion(shallow(in), target)
}

// UnsafeConvertToVersion implements runtime.ObjectConvertor.
func (c Convertor) UnsafeConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	if obj, ok := in.(object.Object); ok {
		in = across(obj, target)
	}
	return c.Scheme.UnsafeConvertToVersion(in, target)
}

// across turns the object of a view into the stored form, or the other way
// round, if target asks for the other's group. The managers of an object may
// have written it in either.
func across(obj object.Object, target runtime.GroupVersioner) runtime.Object {
	for _, v := range scheme.Views() {
		switch {
		case v.Is(obj) && wants(target, v.Of.GroupVersionKind):
			return v.To(obj)
		case v.IsOf(obj) && wants(target, v.GroupVersionKind):
			return v.From(obj)
		}
	}
	return obj
}

// wants reports whether target takes the kind as it is.
func wants(target runtime.GroupVersioner, kind schema.GroupVersionKind) bool {
	gvk, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{kind})
	return ok && gvk == kind
}

// ConvertFieldLabel implements runtime.ObjectConvertor: it says which field
// selectors a kind supports.
func (c Convertor) ConvertFieldLabel(gvk schema.GroupVersionKind, label, value string) (string, string, error) {
	return fields.Convert(gvk.GroupKind(), label, value)
}
