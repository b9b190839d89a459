package validation

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
	"headway.dev/manifests/model/scheme"
)

// taken finds what of a CustomResourceDefinition would have no effect: what Headway
// serves itself.
func taken(obj object.Object) field.ErrorList {
	crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return nil
	}
	var errs field.ErrorList
	itself := false
	own := map[schema.GroupVersion]bool{}
	names := func(n kind.Names) {
		own[n.GroupVersion()] = true
		if n.Group == crd.Spec.Group && (n.Kind == crd.Spec.Names.Kind || n.Plural == crd.Spec.Names.Plural) {
			itself = true
			errs = append(errs, field.Forbidden(rule.Spec.Child("names", "kind"), fmt.Sprintf("Headway serves %s itself", n.GroupKind())))
		}
	}
	for _, k := range scheme.Kinds() {
		names(k.Names)
	}
	for _, v := range scheme.Views() {
		names(v.Names)
	}
	for i, v := range crd.Spec.Versions {
		if gv := (schema.GroupVersion{Group: crd.Spec.Group, Version: v.Name}); own[gv] && !itself {
			errs = append(errs, field.Forbidden(rule.Spec.Child("versions").Index(i).Child("name"), fmt.Sprintf("Headway serves %s itself, and no other kinds in it", gv)))
		}
	}
	return errs
}
