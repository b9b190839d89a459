package certificates

import (
	"context"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/certificates"
	"headway.dev/manifests/model/object"
)

// askAgain is when a node's request is looked at again that was not granted:
// somebody may have bound the role meanwhile.
const askAgain = time.Minute

// Review answers whether a user may do something.
type Review func(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) (allowed bool, err error)

// NewApprover makes the controller that approves nodes' requests for certificates
// of clients, if who makes them may create
// certificatesigningrequests/selfnodeclient, or nodeclient, for its own node or
// any.
func NewApprover(env control.Env, review Review) control.Controller {
	return control.Controller{
		Name: "certificatesigningrequest-approving-controller",
		Keys: requests,
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			r := find(env, key)
			if r == nil || review == nil {
				return 0, nil
			}
			grants := recognize(r)
			for _, g := range grants {
				allowed, err := review(ctx, g.question(r))
				if err != nil {
					return 0, fmt.Errorf("ask who may approve %s: %w", key, err)
				}
				if !allowed {
					continue
				}
				uid := r.UID
				_, err = env.Commit(ctx, change.Tx{Changes: []change.Change{control.Present(change.PatchApproval(key, env.Now(),
					func(r *certificatesv1.CertificateSigningRequest) bool {
						if r.UID != uid || !pending(r) {
							return false
						}
						r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
							Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: g.message,
						})
						return true
					}))}})
				return 0, err
			}
			if len(grants) > 0 {
				return askAgain, nil
			}
			return 0, nil
		},
	}
}

// pending reports whether nobody has decided on a request.
func pending(r *certificatesv1.CertificateSigningRequest) bool {
	return len(r.Status.Certificate) == 0 && !certificates.Has(r, certificatesv1.CertificateApproved) && !certificates.Has(r, certificatesv1.CertificateDenied)
}

// grant is a right by which a request is approved.
type grant struct{ subresource, message string }

func (g grant) question(r *certificatesv1.CertificateSigningRequest) authorizationv1.SubjectAccessReviewSpec {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: r.Spec.Username, UID: r.Spec.UID, Groups: r.Spec.Groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: certificatesv1.GroupName, Resource: "certificatesigningrequests", Verb: "create", Subresource: g.subresource, Version: "*",
		},
	}
	for key, values := range r.Spec.Extra {
		if spec.Extra == nil {
			spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	return spec
}

// recognize returns the rights of which one is enough to approve a request; none
// if it is left to people.
func recognize(r *certificatesv1.CertificateSigningRequest) []grant {
	if !pending(r) || r.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	parsed, err := certificates.ParseRequest(r.Spec.Request)
	if err != nil || forClient(parsed, r.Spec.Usages) != nil {
		return nil
	}
	grants := []grant{{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."}}
	if r.Spec.Username == parsed.Subject.CommonName {
		grants = append([]grant{{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."}}, grants...)
	}
	return grants
}
