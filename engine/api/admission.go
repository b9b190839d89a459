package api

import (
	"context"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	chain "headway.dev/engine/admission"
	"headway.dev/engine/api/authz"
	"headway.dev/engine/api/restrict"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/object"
)

// requestAdmission is what requests pass: the chain that all writes pass, and
// then what depends on who asks.
type requestAdmission struct {
	*chain.Chain
	reader object.Reader
	roles  *rbac.Index
	auth   authorizer.Authorizer
}

// Handles implements admission.Interface.
func (a requestAdmission) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update || op == admission.Delete || a.Chain.Handles(op)
}

// Admit implements admission.MutationInterface. What a node may not create is refused
// before it is looked at whether that is valid, as in Kubernetes.
func (a requestAdmission) Admit(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces) error {
	if err := a.Chain.Admit(ctx, attrs, objects); err != nil {
		return err
	}
	if err := a.overflow(attrs); err != nil || attrs.GetOperation() != admission.Create {
		return err
	}
	return restrict.Node(attrs, a.reader)
}

// overflow refuses a custom resource with more mistakes than are told: the library,
// which looks for all of them, would take hours.
func (a requestAdmission) overflow(attrs admission.Attributes) error {
	u, ok := attrs.GetObject().(*unstructured.Unstructured)
	if op := attrs.GetOperation(); !ok || op != admission.Create && op != admission.Update {
		return nil
	}
	k, ok := a.Chain.Kinds.Set().ForKind(attrs.GetKind().GroupKind())
	if !ok || k.Custom == nil {
		return nil
	}
	version, ok := k.Custom.Version(attrs.GetKind().Version)
	if !ok {
		return nil
	}
	old, _ := attrs.GetOldObject().(*unstructured.Unstructured)
	if errs := version.Overflow(u, old, attrs.GetSubresource() == "status"); len(errs) > 0 {
		return apierrors.NewInvalid(k.GroupKind(), attrs.GetName(), errs)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (a requestAdmission) Validate(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces) error {
	if err := restrict.Node(attrs, a.reader); err != nil {
		return err
	}
	if err := restrict.Signers(ctx, attrs, a.auth); err != nil {
		return err
	}
	if err := a.escalation(ctx, attrs); err != nil {
		return err
	}
	return a.Chain.Validate(ctx, attrs, objects)
}

// escalation keeps users from granting what they have not, and from having policies
// read for them what they may not read.
func (a requestAdmission) escalation(ctx context.Context, attrs admission.Attributes) error {
	group := attrs.GetResource().Group
	if attrs.GetOperation() == admission.Delete || group != rbacv1.GroupName && (group != admissionregistrationv1.GroupName || attrs.GetSubresource() != "") {
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
	if err := a.roles.Escalates(grant); err != nil {
		return err
	}
	return rbac.ReadsParameters(grant)
}
