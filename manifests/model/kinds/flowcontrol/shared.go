package flowcontrol

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

// parts are what an object consists of.
type parts[Spec, Status any] struct {
	meta   *metav1.ObjectMeta
	spec   *Spec
	status *Status
}

// lifecycle is that of both kinds: a write sets the spec, and one of the status that
// alone.
func lifecycle[T object.Object, Spec, Status any](of func(T) parts[Spec, Status]) kind.Lifecycle[T] {
	return kind.Lifecycle[T]{
		Create: func(obj T) {
			var none Status
			*of(obj).status = none
		},
		Update: func(obj, old T) { *of(obj).status = *of(old).status },
		UpdateStatus: func(obj, old T) {
			kind.KeepMeta(of(obj).meta, of(old).meta)
			*of(obj).spec = *of(old).spec
		},
		Changed: func(obj, old T) bool { return kind.Differ(*of(obj).spec, *of(old).spec) },
	}
}

// current is the health of both kinds.
func current[T object.Object]() kind.Health[T] {
	return kind.Health[T]{Of: func(T, object.Reader) health.Result {
		return health.Result{Status: health.Current, Message: "Resource is current"}
	}}
}

// validateConditionTypes wants each condition of a status to have a type of its
// own.
func validateConditionTypes(types []string) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, name := range types {
		path := rule.Status.Child("conditions").Index(i).Child("type")
		if seen[name] {
			errs = append(errs, field.Duplicate(path, name))
		}
		seen[name] = true
		if name == "" {
			errs = append(errs, field.Required(path, "must not be empty"))
		}
	}
	return errs
}
