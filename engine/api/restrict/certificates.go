package restrict

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var signingRequests = schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}

// Signers lets only those approve and sign requests for certificates who may do
// so for their signer: who has the verb approve, or sign, on signers.
func Signers(ctx context.Context, attrs admission.Attributes, auth authorizer.UnconditionalAuthorizer) error {
	if attrs.GetResource().GroupResource() != signingRequests || attrs.GetOperation() != admission.Update {
		return nil
	}
	old, _ := attrs.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	next, _ := attrs.GetObject().(*certificatesv1.CertificateSigningRequest)
	if old == nil || next == nil {
		return nil
	}
	verb := "approve"
	switch attrs.GetSubresource() {
	case "approval":
	case "status":
		if bytes.Equal(old.Status.Certificate, next.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, next.Status.Conditions) {
			return nil
		}
		verb = "sign"
	default:
		return nil
	}
	// The stored request's: nobody changes a request's signer to one of theirs.
	if mayUse(ctx, auth, attrs.GetUserInfo(), verb, old.Spec.SignerName) {
		return nil
	}
	return admission.NewForbidden(attrs, fmt.Errorf("user not permitted to %s requests with signerName %q", verb, old.Spec.SignerName))
}

// mayUse reports whether a user has a verb on a signer, or on all of its domain.
func mayUse(ctx context.Context, auth authorizer.UnconditionalAuthorizer, u user.Info, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := auth.Authorize(ctx, authorizer.AttributesRecord{
			User: u, Verb: verb, Name: name, APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", ResourceRequest: true,
		})
		if err == nil && decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}
