package admit

import (
	"errors"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var errTerminating = errors.New("create not allowed while custom resource definition is terminating")

// defined refuses to create a custom resource whose definition is gone, or going: the
// request may have begun while it was there. Nobody would delete what it leaves, and who
// defines the same kind anew would find it.
func (a *Admission) defined(view object.Reader, next, old object.Object) (object.Object, error) {
	u, ok := next.(*unstructured.Unstructured)
	if !ok || old != nil {
		return next, nil
	}
	gk := u.GroupVersionKind().GroupKind()
	crd := a.definition(view, gk)
	if crd == nil {
		return nil, apierrors.NewGenericServerResponse(http.StatusNotFound, "create", a.resourceOf(view, u), u.GetName(), "", 0, true)
	}
	if crd.DeletionTimestamp != nil {
		return nil, apierrors.NewForbidden(schema.GroupResource{Group: gk.Group, Resource: crd.Spec.Names.Plural}, u.GetName(), errTerminating)
	}
	return next, nil
}

// definition is the definition of a kind as it is in the view, nil if there is none.
func (a *Admission) definition(view object.Reader, gk schema.GroupKind) *apiextensionsv1.CustomResourceDefinition {
	if k, ok := a.kinds.ForKind(gk); ok {
		crd, _ := object.Head(view, object.Key{GroupKind: scheme.Definition, Name: k.Plural + "." + k.Group}).(*apiextensionsv1.CustomResourceDefinition)
		if crd != nil {
			return crd
		}
	}
	// The same transaction may bring it.
	list, _ := object.Heads(view, scheme.Definition)
	for _, obj := range list {
		if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok && crd.Spec.Group == gk.Group && crd.Spec.Names.Kind == gk.Kind {
			return crd
		}
	}
	return nil
}
