package plugins

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	chain "headway.dev/engine/admission"
	"headway.dev/engine/admit"
	"headway.dev/manifests/model/object"
)

var localReviews = schema.GroupResource{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}

// namespaceLifecycle is NamespaceLifecycle: nothing is created in namespaces
// that do not exist or are being deleted, and some are never deleted. The store
// checks it again at the point of commit; here a dry run is checked, too, and a
// refusal comes before the faults of the object.
type namespaceLifecycle struct{ stored object.Reader }

// Handles implements admission.Interface.
func (namespaceLifecycle) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Delete
}

// Admit implements admission.MutationInterface, as Kubernetes' does, which comes
// before the object is validated. It changes nothing.
func (p namespaceLifecycle) Admit(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	next, ok := attrs.GetObject().(object.Object)
	if !ok || attrs.GetOperation() != admission.Create || attrs.GetSubresource() != "" {
		return nil
	}
	if attrs.GetResource().GroupResource() == localReviews {
		return nil // they can be asked of namespaces that do not exist
	}
	return admit.Housed(chain.View(ctx, p.stored), next, attrs.GetResource().GroupResource())
}

// Validate implements admission.ValidationInterface: what is to be deleted is
// known by now.
func (namespaceLifecycle) Validate(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	old, ok := attrs.GetOldObject().(object.Object)
	if !ok || attrs.GetOperation() != admission.Delete {
		return nil
	}
	return admit.Kept(nil, old)
}
