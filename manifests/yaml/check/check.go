// Package check reports whether loaded manifests would be accepted: it gives them
// the defaults of their kinds, validates them, and names file, line and field
// of everything that is wrong.
package check

import (
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/support"
	"headway.dev/manifests/model/validation"
	"headway.dev/manifests/yaml/load"
)

// Items validates each item as a new object, on a copy with defaults and, for a
// namespaced object without a namespace, with the namespace default. The result
// joins all faults, each a *load.Error.
func Items(items []load.Item) error {
	var faults []error
	for _, item := range items {
		obj := item.Object.DeepCopyObject().(object.Object)
		key, err := scheme.KeyOf(obj)
		if err != nil {
			faults = append(faults, item.Fault("kind", err.Error()))
			continue
		}
		if kind, ok := scheme.ForKind(key.GroupKind); ok && kind.Namespaced && key.Namespace == "" {
			obj.SetNamespace("default")
		}
		twice := validation.Duplicates(obj)
		for _, fault := range twice {
			faults = append(faults, item.Fault(fault.Field, fault.ErrorBody()))
		}
		defaults.Apply(obj)
		for _, fault := range validation.Create(obj) {
			if slices.ContainsFunc(twice, func(e *field.Error) bool { return e.Field == fault.Field }) {
				continue // it is the same
			}
			faults = append(faults, item.Fault(fault.Field, fault.ErrorBody()))
		}
	}
	return errors.Join(faults...)
}

// Warnings returns the fields of the items that would be accepted but have no
// effect, each with its file and line.
func Warnings(items []load.Item) []*load.Error {
	var warnings []*load.Error
	for _, item := range items {
		for _, w := range support.Warnings(item.Object) {
			warnings = append(warnings, item.Fault(w.Field, w.Reason))
		}
	}
	return warnings
}
