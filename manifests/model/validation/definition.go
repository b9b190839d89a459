package validation

import (
	"cmp"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
	"headway.dev/manifests/model/scheme"
)

// taken finds what would have no effect because Headway serves it itself.
func taken(obj object.Object) field.ErrorList {
	switch o := obj.(type) {
	case *apiextensionsv1.CustomResourceDefinition:
		return takenFrom(o)
	case *apiregistrationv1.APIService:
		return handedOn(o)
	}
	return nil
}

// handedOn finds a group of Headway's own that an APIService would hand on to a
// Service: nobody else answers for it, in any version.
func handedOn(s *apiregistrationv1.APIService) field.ErrorList {
	if s.Spec.Service == nil {
		return nil
	}
	own := map[string]bool{authenticationv1.GroupName: true, authorizationv1.GroupName: true}
	for _, k := range scheme.Kinds() {
		own[k.Group] = true
	}
	for _, v := range scheme.Views() {
		own[v.Group] = true
	}
	if !own[s.Spec.Group] {
		return nil
	}
	name := cmp.Or(s.Spec.Group, "the legacy group")
	return field.ErrorList{field.Forbidden(rule.Spec.Child("service"), fmt.Sprintf("Headway serves %s itself", name))}
}

func takenFrom(crd *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
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
	for _, o := range scheme.Older() {
		names(o.Names)
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
