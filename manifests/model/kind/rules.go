package kind

import (
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/object"
)

// Rules are the requirements of a kind on its objects. A nil function means no
// rule.
type Rules[T object.Object] struct {
	// Name is the rule for metadata.name; nil skips all of metadata.
	Name apivalidation.ValidateNameFunc
	// AnyFinalizer allows finalizers that have no domain and are not one of
	// Kubernetes' own, as the newer API groups and custom resources do.
	AnyFinalizer bool
	// Object is checked on create and on update.
	Object func(obj T) field.ErrorList
	// Create is checked on create, after Object.
	Create func(obj T) field.ErrorList
	// Update is checked on update, after Object.
	Update func(obj, old T) field.ErrorList
	// Replaces is checked on update instead of Object and Update.
	Replaces func(obj, old T) field.ErrorList
	// Status is checked on an update of the status.
	Status func(obj, old T) field.ErrorList
	// Duplicates finds entries that a manifest has twice in a list whose items
	// are identified by a key.
	Duplicates func(obj T) field.ErrorList
}

func untypedRules[T object.Object](r Rules[T]) Rules[object.Object] {
	return Rules[object.Object]{
		Name: r.Name, AnyFinalizer: r.AnyFinalizer, Object: of(r.Object), Create: of(r.Create), Update: both(r.Update),
		Replaces: both(r.Replaces), Status: both(r.Status), Duplicates: of(r.Duplicates),
	}
}
