package admit

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var (
	namespaceKind = schema.GroupKind{Kind: "Namespace"}
	namespaces    = schema.GroupResource{Resource: "namespaces"}
)

// namespaces is Kubernetes' NamespaceLifecycle admission: it refuses to create
// an object in a namespace that does not exist (NotFound) or is being deleted
// (Forbidden, cause NamespaceTerminating), and to delete the namespaces that
// Kubernetes keeps.
func (a *Admission) namespaces(view object.Reader, next, old object.Object) (object.Object, error) {
	if err := Kept(next, old); err != nil {
		return nil, err
	}
	if old != nil || next == nil {
		return next, nil
	}
	if err := housed(view, next, func() schema.GroupResource { return a.resourceOf(view, next) }); err != nil {
		return nil, err
	}
	return next, nil
}

// Kept refuses to delete the namespaces that Kubernetes keeps.
func Kept(next, old object.Object) error {
	if ns, ok := old.(*corev1.Namespace); ok {
		return permanent(namespaceKind, next, ns)
	}
	return nil
}

// Housed refuses to create an object of a resource where the store does.
func Housed(view object.Reader, next object.Object, resource schema.GroupResource) error {
	return housed(view, next, func() schema.GroupResource { return resource })
}

func housed(view object.Reader, next object.Object, resource func() schema.GroupResource) error {
	name := next.GetNamespace()
	if name == "" {
		return nil
	}
	ns, _ := view.Get(object.Key{GroupKind: namespaceKind, Name: name}).(*corev1.Namespace)
	if ns == nil {
		return apierrors.NewNotFound(namespaces, name)
	}
	if !Alive(ns) {
		return terminating(next, resource())
	}
	return nil
}

// permanent fails if next is the deletion of an object that cannot be deleted, as in
// Kubernetes.
func permanent(gk schema.GroupKind, next, old object.Object) error {
	k, ok := scheme.ForKind(gk)
	if !ok || k.Lifecycle.Permanent == nil || old.GetDeletionTimestamp() != nil || next != nil && next.GetDeletionTimestamp() == nil {
		return nil
	}
	if reason := k.Lifecycle.Permanent(old.GetName()); reason != "" {
		return apierrors.NewForbidden(k.Resource().GroupResource(), old.GetName(), errors.New(reason))
	}
	return nil
}

func terminating(obj object.Object, resource schema.GroupResource) error {
	ns := obj.GetNamespace()
	err := apierrors.NewForbidden(resource, obj.GetName(),
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", ns))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", ns),
		Field:   "metadata.namespace",
	})
	return err
}

// resourceOf is the resource for messages where it is not at hand: of a kind that is
// served, or that a definition in view defines, which may be written together with obj.
func (a *Admission) resourceOf(view object.Reader, obj object.Object) schema.GroupResource {
	gk := obj.GetObjectKind().GroupVersionKind().GroupKind()
	if key, err := scheme.KeyOf(obj); err == nil {
		gk = key.GroupKind
	}
	if k, ok := a.kinds.ForKind(gk); ok {
		return k.Resource().GroupResource()
	}
	definitions, _ := object.Heads(view, scheme.Definition)
	for _, obj := range definitions {
		if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok && crd.Spec.Group == gk.Group && crd.Spec.Names.Kind == gk.Kind {
			return schema.GroupResource{Group: gk.Group, Resource: crd.Spec.Names.Plural}
		}
	}
	return schema.GroupResource{Group: gk.Group, Resource: strings.ToLower(gk.Kind)}
}
