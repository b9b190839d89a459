package apiextensions

import (
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// Defined returns the kind whose objects crd defines, in the version in which
// they are stored. ok is false while its names are not accepted: then there are
// none. What their rules are is known to the API server alone.
func Defined(crd *apiextensionsv1.CustomResourceDefinition) (k *kind.Kind, ok bool) {
	names := crd.Status.AcceptedNames
	version, err := apihelpers.GetCRDStorageVersion(crd)
	if err != nil || names.Kind == "" || names.Plural == "" {
		return nil, false
	}
	k = &kind.Kind{}
	k.Group, k.Version, k.Kind = crd.Spec.Group, version, names.Kind
	k.Plural, k.Singular, k.ShortNames, k.Categories = names.Plural, names.Singular, names.ShortNames, names.Categories
	k.Namespaced = crd.Spec.Scope == apiextensionsv1.NamespaceScoped
	k.Order = kind.Anywhere
	gvk, listKind := k.GroupVersionKind, names.ListKind
	k.New = func() object.Object {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(gvk)
		return u
	}
	k.NewList = func() runtime.Object {
		u := &unstructured.UnstructuredList{}
		u.SetGroupVersionKind(gvk.GroupVersion().WithKind(listKind))
		return u
	}
	return k, true
}
