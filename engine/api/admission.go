package api

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	chain "headway.dev/engine/admission"
	"headway.dev/engine/api/authz"
	"headway.dev/engine/api/restrict"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
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
	if err := a.parameters(ctx, attrs); err != nil {
		return err
	}
	return a.Chain.Validate(ctx, attrs, objects)
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

// parameters keeps users from having policies read for them what they may not read
// themselves: who writes a policy must be allowed to get all objects of its
// paramKind, and who binds one those of its paramRef.
func (a requestAdmission) parameters(ctx context.Context, attrs admission.Attributes) error {
	if attrs.GetResource().Group != admissionregistrationv1.GroupName || attrs.GetSubresource() != "" || attrs.GetOperation() == admission.Delete {
		return nil
	}
	next, ok := attrs.GetObject().(object.Object)
	if !ok {
		return nil
	}
	old, _ := attrs.GetOldObject().(object.Object)
	kind, ref, policy := parametersOf(next)
	var oldKind *admissionregistrationv1.ParamKind
	var oldRef *admissionregistrationv1.ParamRef
	var oldPolicy string
	if old != nil {
		oldKind, oldRef, oldPolicy = parametersOf(old)
	}
	attr := authorizer.AttributesRecord{User: attrs.GetUserInfo(), Verb: "get", APIGroup: "*", APIVersion: "*", Resource: "*", ResourceRequest: true}
	var at *field.Path
	var refusal string
	switch {
	case kind != nil && !equality.Semantic.DeepEqual(kind, oldKind):
		attr.Namespace, attr.Name, at = "*", "*", field.NewPath("spec", "paramKind")
		refusal = fmt.Sprintf(`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, attr.User.GetName(), kind.Kind, kind.APIVersion)
	case ref != nil && (!equality.Semantic.DeepEqual(ref, oldRef) || policy != oldPolicy):
		if ref.Name == "" {
			attr.Verb = "list"
		}
		attr.Namespace, attr.Name, at = ref.Namespace, ref.Name, field.NewPath("spec", "paramRef")
		refusal = fmt.Sprintf(`user %v does not have "%v" permission on the object referenced by paramRef`, attr.User.GetName(), attr.Verb)
		gk := schema.GroupKind{Group: admissionregistrationv1.GroupName, Kind: "ValidatingAdmissionPolicy"}
		if _, ok := next.(*admissionregistrationv1.MutatingAdmissionPolicyBinding); ok {
			gk.Kind = "MutatingAdmissionPolicy"
		}
		if bound := a.reader.Get(object.Key{GroupKind: gk, Name: policy}); bound != nil {
			kind, _, _ = parametersOf(bound)
		}
	default:
		return nil
	}
	if kind != nil {
		gvk := schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind)
		attr.APIGroup, attr.APIVersion = gvk.Group, gvk.Version
		if k, ok := scheme.ForKind(gvk.GroupKind()); ok {
			attr.Resource = k.Plural
		}
	}
	decision, _, err := a.auth.Authorize(ctx, attr)
	if err == nil && decision == authorizer.DecisionAllow {
		return nil
	}
	return apierrors.NewInvalid(attrs.GetKind().GroupKind(), attrs.GetName(), field.ErrorList{field.Forbidden(at, refusal)})
}

// parametersOf returns the kind of a policy's parameters, or what a binding refers
// to and the policy that it binds.
func parametersOf(obj object.Object) (kind *admissionregistrationv1.ParamKind, ref *admissionregistrationv1.ParamRef, policy string) {
	switch o := obj.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		return o.Spec.ParamKind, nil, ""
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		return o.Spec.ParamKind, nil, ""
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		return nil, o.Spec.ParamRef, o.Spec.PolicyName
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		return nil, o.Spec.ParamRef, o.Spec.PolicyName
	}
	return nil, nil, ""
}
