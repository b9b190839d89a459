package strategy

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/validation"
)

// Finalize is the strategy of namespaces' finalize subresource, which writes
// spec.finalizers and nothing else.
type Finalize struct{ Main }

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s Finalize) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	lifecycle.PrepareFinalize(obj.(object.Object), old.(object.Object))
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s Finalize) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.Update(obj.(object.Object), old.(object.Object))
}
