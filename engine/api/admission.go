package api

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/warning"

	"headway.dev/engine/admit"
	"headway.dev/engine/api/authz"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/object"
)

// requestAdmission is what a request is checked against that its object alone does not
// tell: the state of its namespace and who asks. The store checks namespaces
// again at the point of commit; here a dry run is checked, too, and a refusal
// comes before the faults of the object.
type requestAdmission struct {
	reader object.Reader
	roles  *rbac.Index
	auth   authorizer.Authorizer
	// security warns of pods; it may be nil.
	security *admit.Security
}

// Handles implements admission.Interface.
func (a requestAdmission) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update || op == admission.Delete
}

// Validate implements admission.ValidationInterface.
func (a requestAdmission) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	if err := a.namespaces(attrs); err != nil {
		return err
	}
	if err := a.nodeRestriction(attrs); err != nil {
		return err
	}
	a.warn(ctx, attrs)
	return a.escalation(ctx, attrs)
}

// warn reports pods that the namespace's policy warns about.
func (a requestAdmission) warn(ctx context.Context, attrs admission.Attributes) {
	obj, ok := attrs.GetObject().(object.Object)
	if !ok || a.security == nil || attrs.GetSubresource() != "" || attrs.GetOperation() == admission.Delete {
		return
	}
	if text := a.security.Warning(a.reader, obj); text != "" {
		warning.AddWarning(ctx, "", text)
	}
}

// escalation keeps users from granting what they have not.
func (a requestAdmission) escalation(ctx context.Context, attrs admission.Attributes) error {
	if attrs.GetResource().Group != rbacv1.GroupName || attrs.GetOperation() == admission.Delete {
		return nil
	}
	next, ok := attrs.GetObject().(object.Object)
	if !ok {
		return nil
	}
	grant := rbac.Grant{User: authz.User(attrs.GetUserInfo()), Next: next, Roles: a.reader, May: func(r rbac.Request) bool {
		decision, _, err := a.auth.Authorize(ctx, authorizer.AttributesRecord{
			User: attrs.GetUserInfo(), Verb: r.Verb, APIGroup: r.Group, APIVersion: "*", Resource: r.Resource,
			Namespace: r.Namespace, Name: r.Name, ResourceRequest: true,
		})
		return err == nil && decision == authorizer.DecisionAllow
	}}
	grant.Old, _ = attrs.GetOldObject().(object.Object)
	if info, ok := genericapirequest.RequestInfoFrom(ctx); ok {
		grant.Name = info.Name
	}
	return a.roles.Escalates(grant)
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
