package codec

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/api/fields"
)

// Convertor converts between the versions of a scheme in which all versions of
// a kind are one Go type: it only stamps the kind, on a shallow copy.
type Convertor struct{ *runtime.Scheme }

// ConvertToVersion implements runtime.ObjectConvertor. The result shares
// everything but its outer struct with in.
func (c Convertor) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	return c.UnsafeConvertToVersion(shallow(in), target)
}

// ConvertFieldLabel implements runtime.ObjectConvertor: it says which field
// selectors a kind supports.
func (c Convertor) ConvertFieldLabel(gvk schema.GroupVersionKind, label, value string) (string, string, error) {
	return fields.Convert(gvk.GroupKind(), label, value)
}
