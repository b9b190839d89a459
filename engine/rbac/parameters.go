package rbac

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// ReadsParameters keeps users from having admission policies read for them what
// they may not read themselves: who writes a policy must be allowed to get all
// objects of its paramKind, and who binds one those of its paramRef. Otherwise it
// returns the API server's error. Of objects of other kinds it returns nil.
func ReadsParameters(g Grant) error {
	kind, ref, policy := parametersOf(g.Next)
	var oldKind *admissionregistrationv1.ParamKind
	var oldRef *admissionregistrationv1.ParamRef
	var oldPolicy string
	if g.Old != nil {
		oldKind, oldRef, oldPolicy = parametersOf(g.Old)
	}
	request := Request{Verb: "get", Group: "*", Resource: "*"}
	var at *field.Path
	var refusal string
	switch {
	case kind != nil && !equality.Semantic.DeepEqual(kind, oldKind):
		request.Namespace, request.Name, at = "*", "*", field.NewPath("spec", "paramKind")
		refusal = fmt.Sprintf(`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, g.User.Name, kind.Kind, kind.APIVersion)
	case ref != nil && (!equality.Semantic.DeepEqual(ref, oldRef) || policy != oldPolicy):
		if ref.Name == "" {
			request.Verb = "list"
		}
		request.Namespace, request.Name, at = ref.Namespace, ref.Name, field.NewPath("spec", "paramRef")
		refusal = fmt.Sprintf(`user %v does not have "%v" permission on the object referenced by paramRef`, g.User.Name, request.Verb)
		if bound := g.Roles.Get(policyOf(g.Next, policy)); bound != nil {
			kind, _, _ = parametersOf(bound)
		}
	default:
		return nil
	}
	if kind != nil {
		gvk := schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind)
		request.Group = gvk.Group
		if k, ok := scheme.ForKind(gvk.GroupKind()); ok {
			request.Resource = k.Plural
		}
	}
	if g.User.master() || g.May(request) {
		return nil
	}
	return apierrors.NewInvalid(keyOf(g.Next).GroupKind, g.Next.GetName(), field.ErrorList{field.Forbidden(at, refusal)})
}

// policyOf is the key of the policy that a binding binds.
func policyOf(binding object.Object, name string) object.Key {
	kind := "ValidatingAdmissionPolicy"
	if _, ok := binding.(*admissionregistrationv1.MutatingAdmissionPolicyBinding); ok {
		kind = "MutatingAdmissionPolicy"
	}
	return object.Key{GroupKind: schema.GroupKind{Group: admissionregistrationv1.GroupName, Kind: kind}, Name: name}
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
