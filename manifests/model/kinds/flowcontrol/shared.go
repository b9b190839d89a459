package flowcontrol

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

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
