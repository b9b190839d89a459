package apiextensions

import (
	"reflect"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// Defined returns the kind whose objects crd defines, in the version in which
// they are stored. ok is false while its names are not accepted: then there are
// none.
func Defined(crd *apiextensionsv1.CustomResourceDefinition) (k *kind.Kind, ok bool) {
	return named(crd, crd.Status.AcceptedNames)
}

// Declared is what Defined will be once the names of crd are accepted.
func Declared(crd *apiextensionsv1.CustomResourceDefinition) (k *kind.Kind, ok bool) {
	return named(crd, crd.Spec.Names)
}

// SameKind reports whether two kinds of one definition have the same names and the
// same schemas.
func SameKind(a, b *kind.Kind) bool {
	return a.Custom.As(b.Custom) && reflect.DeepEqual(a.Names, b.Names)
}

func named(crd *apiextensionsv1.CustomResourceDefinition, names apiextensionsv1.CustomResourceDefinitionNames) (k *kind.Kind, ok bool) {
	stored, err := apihelpers.GetCRDStorageVersion(crd)
	if err != nil || names.Kind == "" || names.Plural == "" {
		return nil, false
	}
	definition := custom.New(crd)
	version, ok := definition.Version(stored)
	if !ok {
		return nil, false
	}
	k = &kind.Kind{Custom: definition}
	k.Group, k.Version, k.Kind = crd.Spec.Group, stored, names.Kind
	k.Plural, k.Singular, k.ShortNames, k.Categories = names.Plural, names.Singular, names.ShortNames, names.Categories
	k.Namespaced = crd.Spec.Scope == apiextensionsv1.NamespaceScoped
	k.Status = version.HasStatus()
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
	behave(k, version)
	return k, true
}

// behave gives a kind what the version in which its objects are stored says of them.
func behave(k *kind.Kind, version *custom.Version) {
	do := func(f func(*unstructured.Unstructured)) func(object.Object) {
		return func(obj object.Object) {
			if u, ok := obj.(*unstructured.Unstructured); ok {
				f(u)
			}
		}
	}
	k.Default = do(func(u *unstructured.Unstructured) { _ = version.Complete(u) }) // validation tells of a bad schema
	k.Lifecycle.Create = do(version.PrepareCreate)
	k.Lifecycle.Update = func(obj, old object.Object) {
		if u, was, ok := both(obj, old); ok {
			version.PrepareUpdate(u, was)
		}
	}
	k.Rules.Object = func(obj object.Object) field.ErrorList {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return nil
		}
		return version.Create(u)
	}
	k.Rules.Replaces = func(obj, old object.Object) field.ErrorList {
		u, was, ok := both(obj, old)
		if !ok {
			return nil
		}
		return version.Update(u, was)
	}
}

func both(obj, old object.Object) (u, was *unstructured.Unstructured, ok bool) {
	u, ok = obj.(*unstructured.Unstructured)
	if !ok {
		return nil, nil, false
	}
	was, ok = old.(*unstructured.Unstructured)
	return u, was, ok
}

// Health judges a custom resource as kstatus does: by its conditions and by the
// generation that its controller has observed.
func Health(u *unstructured.Unstructured) health.Result {
	res, err := status.Compute(u)
	if err != nil {
		return health.Result{Status: health.InProgress, Message: err.Error()}
	}
	return health.Result{Status: health.Status(res.Status), Message: res.Message}
}
