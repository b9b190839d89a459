package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"headway.dev/manifests/model/kinds/certificates"
)

var signingRequests = schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}

// ofRequests is part of plugins that look at signing requests which are created.
type ofRequests struct{}

// Handles implements admission.Interface.
func (ofRequests) Handles(op admission.Operation) bool { return op == admission.Create }

// Wants implements admission.Selective.
func (ofRequests) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == signingRequests && subresource == ""
}

func newRequest(attrs admission.Attributes) *certificatesv1.CertificateSigningRequest {
	if attrs.GetOperation() != admission.Create || attrs.GetResource().GroupResource() != signingRequests || attrs.GetSubresource() != "" {
		return nil
	}
	r, _ := attrs.GetObject().(*certificatesv1.CertificateSigningRequest)
	return r
}

// requester writes into a signing request who makes it, whatever it says itself,
// because approvers go by that. Kubernetes does so where requests are served;
// here whoever writes passes: a commit makes a request in the name of whom it
// acts as.
type requester struct{ ofRequests }

// Admit implements admission.MutationInterface.
func (requester) Admit(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	r := newRequest(attrs)
	if r == nil {
		return nil
	}
	by := attrs.GetUserInfo()
	if by == nil {
		return admission.NewForbidden(attrs, errors.New("nobody is known who requests the certificate"))
	}
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = by.GetName(), by.GetUID(), slices.Clone(by.GetGroups()), nil
	for key, values := range by.GetExtra() {
		if r.Spec.Extra == nil {
			r.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		r.Spec.Extra[key] = slices.Clone(values)
	}
	return nil
}

// Validate implements admission.ValidationInterface: no plugin may have changed
// who makes the request.
func (requester) Validate(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	r, by := newRequest(attrs), attrs.GetUserInfo()
	if r == nil || by != nil && r.Spec.Username == by.GetName() && r.Spec.UID == by.GetUID() && slices.Equal(r.Spec.Groups, by.GetGroups()) {
		return nil
	}
	return admission.NewForbidden(attrs, fmt.Errorf("spec.username is %q, and not who makes the request", r.Spec.Username))
}

// subjectRestriction is CertificateSubjectRestriction: nobody becomes an
// administrator by a certificate for clients of the API.
type subjectRestriction struct{ ofRequests }

// Validate implements admission.ValidationInterface.
func (subjectRestriction) Validate(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	r := newRequest(attrs)
	if r == nil || r.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := certificates.ParseRequest(r.Spec.Request)
	if err != nil {
		return admission.NewForbidden(attrs, fmt.Errorf("failed to parse CSR: %w", err))
	}
	if slices.Contains(parsed.Subject.Organization, user.SystemPrivilegedGroup) {
		return admission.NewForbidden(attrs, fmt.Errorf("use of %s signer with %s group is not allowed", r.Spec.SignerName, user.SystemPrivilegedGroup))
	}
	return nil
}
