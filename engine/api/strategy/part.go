package strategy

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/validation"
)

// Part is the strategy of a subresource that changes a part of an object.
type Part struct {
	Main
	part kind.Part[object.Object]
}

// NewPart makes the strategy of a part of a kind.
func NewPart(main Main, part kind.Part[object.Object]) Part { return Part{main, part} }

// AllowCreateOnUpdate implements rest.RESTUpdateStrategy.
func (s Part) AllowCreateOnUpdate(context.Context) bool { return false }

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s Part) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	lifecycle.PreparePart(obj.(object.Object), old.(object.Object), s.part)
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s Part) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.UpdatePart(obj.(object.Object), old.(object.Object), s.part)
}

// Filter leaves of what is applied through the subresource only the part: nobody
// comes to own the rest by it.
func (s Part) Filter() map[fieldpath.APIVersion]fieldpath.Filter {
	var paths []*fieldpath.SetMatcher
	for _, field := range s.part.Fields {
		var path []any
		for name := range strings.SplitSeq(field, ".") {
			if name == "*" {
				path = append(path, fieldpath.MatchAnyPathElement())
			} else {
				path = append(path, name)
			}
		}
		paths = append(paths, fieldpath.MakePrefixMatcherOrDie(path...))
	}
	return map[fieldpath.APIVersion]fieldpath.Filter{
		fieldpath.APIVersion(s.kind.GroupVersion().String()): fieldpath.NewIncludeMatcherFilter(paths...),
	}
}
