package api

import (
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/engine/api/authz"
	"headway.dev/engine/satoken"
	"headway.dev/manifests/model/object"
)

// nodeRestriction completes what authz.Node cannot tell from the path: a node
// registers only itself, makes only its own lease, and gets tokens only for
// its own pods.
func (a requestAdmission) nodeRestriction(attrs admission.Attributes) error {
	node, ok := authz.NodeName(attrs.GetUserInfo())
	if !ok || attrs.GetOperation() != admission.Create {
		return nil
	}
	if req, ok := attrs.GetObject().(*authenticationv1.TokenRequest); ok {
		return a.nodeToken(attrs, node, req.Spec)
	}
	if attrs.GetSubresource() != "" {
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

// nodeToken checks that a token which a node asks for is bound to a pod that
// runs there, and for an audience that the pod asks for, as Kubernetes'
// NodeRestriction does.
func (a requestAdmission) nodeToken(attrs admission.Attributes, node string, spec authenticationv1.TokenRequestSpec) error {
	ref := spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return admission.NewForbidden(attrs, errors.New("node requested token not bound to a pod"))
	}
	if ref.UID == "" {
		return admission.NewForbidden(attrs, errors.New("node requested token with a pod binding without a uid"))
	}
	pod, ok := a.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: attrs.GetNamespace(), Name: ref.Name}).(*corev1.Pod)
	if !ok || pod.UID != ref.UID {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, ref.Name)
	}
	if pod.Spec.NodeName != node {
		return admission.NewForbidden(attrs, errors.New("node requested token bound to a pod scheduled on a different node"))
	}
	for _, audience := range spec.Audiences {
		if audience != satoken.URL && !asksFor(pod, audience) {
			return admission.NewForbidden(attrs, fmt.Errorf("audience %q not found in pod spec volume, system:node:%s is not authorized to request tokens for this audience", audience, node))
		}
	}
	return nil
}

// asksFor reports whether a volume of the pod projects a token for an audience.
func asksFor(pod *corev1.Pod, audience string) bool {
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience {
				return true
			}
		}
	}
	return false
}
