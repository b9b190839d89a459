package api

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/engine/api/authz"
	"headway.dev/manifests/object"
)

// admit is the admission of requests: what depends on other objects or on the
// user. It answers the same as Kubernetes' NamespaceLifecycle and NodeRestriction
// plugins do; the store's own admission is what holds at the point of commit.
type admit struct{ reader object.Reader }

// immortal are the namespaces that cannot be deleted.
var immortal = map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true}

// Handles implements admission.Interface.
func (a admit) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update || op == admission.Delete
}

// Validate implements admission.ValidationInterface.
func (a admit) Validate(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	if err := a.namespaceLifecycle(attrs); err != nil {
		return err
	}
	return a.nodeRestriction(attrs)
}

func (a admit) namespaceLifecycle(attrs admission.Attributes) error {
	if attrs.GetKind().GroupKind() == (schema.GroupKind{Kind: "Namespace"}) {
		if attrs.GetOperation() == admission.Delete && immortal[attrs.GetName()] {
			return apierrors.NewForbidden(attrs.GetResource().GroupResource(), attrs.GetName(), fmt.Errorf("this namespace may not be deleted"))
		}
		return nil
	}
	if attrs.GetOperation() != admission.Create || attrs.GetNamespace() == "" {
		return nil
	}
	namespace, ok := a.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Namespace"}, Name: attrs.GetNamespace()}).(*corev1.Namespace)
	if !ok || namespace == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, attrs.GetNamespace())
	}
	if namespace.Status.Phase != corev1.NamespaceTerminating && namespace.DeletionTimestamp == nil {
		return nil
	}
	err := admission.NewForbidden(attrs, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", attrs.GetNamespace()))
	if status, ok := err.(*apierrors.StatusError); ok {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{
			Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", attrs.GetNamespace()), Field: "metadata.namespace",
		})
	}
	return err
}

// nodeRestriction completes what authz.Node cannot tell from the path: a node
// registers only itself and makes only its own lease.
func (a admit) nodeRestriction(attrs admission.Attributes) error {
	node, ok := authz.NodeName(attrs.GetUserInfo())
	if !ok || attrs.GetOperation() != admission.Create || attrs.GetSubresource() != "" {
		return nil
	}
	name := attrs.GetName()
	if obj, ok := attrs.GetObject().(object.Object); ok && name == "" {
		name = obj.GetName()
	}
	if name == node {
		return nil
	}
	switch attrs.GetResource().GroupResource() {
	case schema.GroupResource{Resource: "nodes"}:
		return admission.NewForbidden(attrs, fmt.Errorf("node %q is not allowed to modify node %q", node, name))
	case schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}:
		return admission.NewForbidden(attrs, fmt.Errorf("can only access node lease with the same name as the requesting node"))
	}
	return nil
}
