// Package fields knows which fields of each kind a field selector can name, and
// reads them. Every kind has metadata.name and, if namespaced,
// metadata.namespace; those that the Kubernetes API has for some kinds are in
// their definitions, in manifests/model/kinds. Its functions are pure.
package fields

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Convert checks that a field selector may name label for the kind, and
// returns the name and value to compare: old spellings become new ones. The
// error is the one that Kubernetes answers.
func Convert(of schema.GroupKind, label, value string) (string, string, error) {
	switch label {
	case "metadata.name", "metadata.namespace":
		return label, value, nil
	}
	if v, ok := scheme.ForView(of); ok {
		if stored, ok := v.Fields[label]; ok {
			return stored, value, nil
		}
	}
	if k, ok := scheme.ForKind(of); ok {
		if current, ok := k.Fields.Aliases[label]; ok {
			return current, value, nil
		}
		if slices.Contains(k.Fields.Names, label) {
			return label, value, nil
		}
	}
	return "", "", fmt.Errorf("field label not supported: %s", label)
}

// Attrs reads the labels and the selectable fields of an object; it is a
// storage.AttrFunc.
func Attrs(k *kind.Kind) func(runtime.Object) (labels.Set, fields.Set, error) {
	return func(obj runtime.Object) (labels.Set, fields.Set, error) {
		o, ok := obj.(object.Object)
		if !ok {
			return nil, nil, fmt.Errorf("read the fields of a %T: not an API object", obj)
		}
		set := make(fields.Set, 2+len(k.Fields.Names))
		set["metadata.name"] = o.GetName()
		if k.Namespaced {
			set["metadata.namespace"] = o.GetNamespace()
		}
		if k.Fields.Read != nil {
			k.Fields.Read(o, set)
		}
		return o.GetLabels(), set, nil
	}
}
