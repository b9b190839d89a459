package api

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/engine/admit"
	"headway.dev/engine/api/authz"
	"headway.dev/manifests/object"
)

// requestAdmission is what a request is checked against that its object alone does not
// tell: the state of its namespace and who asks. The store checks namespaces
// again at the point of commit; here a dry run is checked, too, and a refusal
// comes before the faults of the object.
type requestAdmission struct{ reader object.Reader }

// Handles implements admission.Interface.
func (a requestAdmission) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update || op == admission.Delete
}

// Validate implements admission.ValidationInterface.
func (a requestAdmission) Validate(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	if err := a.namespaces(attrs); err != nil {
		return err
	}
	return a.nodeRestriction(attrs)
}

func (a requestAdmission) namespaces(attrs admission.Attributes) error {
	var err error
	switch attrs.GetOperation() {
	case admission.Create:
		if next, ok := attrs.GetObject().(object.Object); ok && attrs.GetSubresource() == "" {
			_, err = admit.Namespaces(a.reader, next, nil)
		}
	case admission.Delete:
		if old, ok := attrs.GetOldObject().(object.Object); ok {
			_, err = admit.Namespaces(a.reader, nil, old)
		}
	case admission.Update, admission.Connect:
	}
	return err
}

// nodeRestriction completes what authz.Node cannot tell from the path: a node
// registers only itself and makes only its own lease.
func (a requestAdmission) nodeRestriction(attrs admission.Attributes) error {
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
