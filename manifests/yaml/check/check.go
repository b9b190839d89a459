// Package check reports whether loaded manifests would be accepted: it gives them
// the defaults of their kinds, validates them, and names file, line and field
// of everything that is wrong.
package check

import (
	"errors"
	"fmt"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/support"
	"headway.dev/manifests/model/validation"
	"headway.dev/manifests/yaml/load"
)

// definitions are the kinds that the items define, besides Headway's own.
func definitions(items []load.Item) *scheme.Set {
	var list []*apiextensionsv1.CustomResourceDefinition
	for _, item := range items {
		if crd, ok := item.Object.(*apiextensionsv1.CustomResourceDefinition); ok && item.LeftOut() == "" {
			crd = crd.DeepCopy()
			defaults.Apply(crd)
			if len(validation.Create(crd)) == 0 { // it is told of as such
				list = append(list, crd)
			}
		}
	}
	return (*scheme.Set)(nil).With(list...)
}

// custom validates a custom resource, if its definition is among the manifests.
func custom(kinds *scheme.Set, item load.Item, u *unstructured.Unstructured) (faults []error) {
	gvk := u.GroupVersionKind()
	k, ok := kinds.ForKind(gvk.GroupKind())
	if !ok {
		return nil
	}
	version, ok := k.Custom.Version(gvk.Version)
	if !ok || !k.Custom.Serves(gvk.Version) {
		return []error{item.Fault("kind", fmt.Sprintf("no matches for kind %q in version %q", gvk.Kind, gvk.GroupVersion()))}
	}
	switch {
	case !k.Namespaced:
		u.SetNamespace("")
	case u.GetNamespace() == "":
		u.SetNamespace("default")
	}
	unknown, err := version.Unknown(u)
	if err == nil {
		err = version.Complete(u)
	}
	if fault := (*field.Error)(nil); errors.As(err, &fault) {
		return []error{item.Fault(fault.Field, rule.Words(fault))}
	} else if err != nil {
		return []error{item.Fault("", err.Error())}
	}
	for _, path := range unknown {
		faults = append(faults, item.Fault(path, "unknown field"))
	}
	for _, fault := range version.Create(u) {
		faults = append(faults, item.Fault(fault.Field, rule.Words(fault)))
	}
	return faults
}

// Items validates each item as a new object, on a copy with defaults and, for a
// namespaced object without a namespace, with the namespace default. The result
// joins all faults, each a *load.Error.
func Items(items []load.Item) error {
	var faults []error
	kinds := definitions(items)
	for _, item := range items {
		obj := item.Object.DeepCopyObject().(object.Object)
		if u, ok := obj.(*unstructured.Unstructured); ok {
			faults = append(faults, custom(kinds, item, u)...)
			continue
		}
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
			faults = append(faults, item.Fault(fault.Field, rule.Words(fault)))
		}
		defaults.Apply(obj)
		lifecycle.PrepareCreate(obj, time.Time{}) // the selector of a Job contains its UID
		for _, fault := range validation.Create(obj) {
			if slices.ContainsFunc(twice, func(e *field.Error) bool { return e.Field == fault.Field }) {
				continue // it is the same
			}
			faults = append(faults, item.Fault(fault.Field, rule.Words(fault)))
		}
	}
	return errors.Join(faults...)
}

// Warnings returns the fields of the items that would be accepted but have no
// effect, and the custom resources that cannot be checked, each with its file and line.
func Warnings(items []load.Item) []*load.Error {
	var warnings []*load.Error
	kinds := definitions(items)
	for _, item := range items {
		if u, ok := item.Object.(*unstructured.Unstructured); ok {
			if _, ok := kinds.ForKind(u.GroupVersionKind().GroupKind()); !ok {
				warnings = append(warnings, item.Fault("kind", "its CustomResourceDefinition is not among the manifests: only its metadata is checked"))
			}
			continue
		}
		for _, w := range support.Warnings(item.Object) {
			warnings = append(warnings, item.Fault(w.Field, w.Reason))
		}
	}
	return warnings
}
