package strategy

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// View is the strategy of a view: that of its kind and the view's own rules.
type View struct {
	Main
	Of *kind.View
}

// Validate implements rest.RESTCreateStrategy.
func (s View) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	errs := s.Main.Validate(ctx, obj)
	if s.Of.Create != nil {
		errs = append(errs, s.Of.Create(obj.(object.Object))...)
	}
	return errs
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s View) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	errs := s.Main.ValidateUpdate(ctx, obj, old)
	if s.Of.Update != nil {
		errs = append(errs, s.Of.Update(obj.(object.Object), old.(object.Object))...)
	}
	return errs
}
