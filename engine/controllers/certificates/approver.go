package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
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

// lookAgain is when a request for a node's server is looked at again whose names the
// Node does not have yet.
const lookAgain = 2 * time.Second

// Review answers whether a user may do something.
type Review func(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) (allowed bool, err error)

// NewApprover makes the controller that approves nodes' requests for certificates
// of clients, if who makes them may create
// certificatesigningrequests/selfnodeclient, or nodeclient, for its own node or
// any; and those of nodes for certificates of their servers, if they may create
// certificatesigningrequests/selfnodeserver and the names are theirs.
//
// Beyond Kubernetes, nobody but a node itself gets a certificate for a node that exists:
// a token to join by is no right to be one of the machines that have joined.
func NewApprover(env control.Env, review Review) control.Controller {
	return control.Controller{
		Name: "certificatesigningrequest-approving-controller",
		Keys: requests,
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			r := find(env, key)
			if r == nil || review == nil {
				return 0, nil
			}
			grants, refusal, later := recognize(env.Store, r)
			if refusal != "" {
				return 0, decide(ctx, env, r, certificatesv1.CertificateDenied, "NodeExists", refusal)
			}
			for _, g := range grants {
				allowed, err := review(ctx, g.question(r))
				if err != nil {
					return 0, fmt.Errorf("ask who may approve %s: %w", key, err)
				}
				if !allowed {
					continue
				}
				return 0, decide(ctx, env, r, certificatesv1.CertificateApproved, "AutoApproved", g.message)
			}
			if len(grants) > 0 {
				return askAgain, nil
			}
			return later, nil
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

// decide adds a condition to a request, unless somebody has decided meanwhile.
func decide(ctx context.Context, env control.Env, r *certificatesv1.CertificateSigningRequest, condition certificatesv1.RequestConditionType, reason, message string) error {
	uid := r.UID
	_, err := env.Commit(ctx, change.Tx{Changes: []change.Change{control.Present(change.PatchApproval(object.KeyOf(requestKind, r), env.Now(),
		func(r *certificatesv1.CertificateSigningRequest) bool {
			if r.UID != uid || !pending(r) {
				return false
			}
			r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
				Type: condition, Status: corev1.ConditionTrue, Reason: reason, Message: message,
			})
			return true
		}))}})
	return err
}

// recognize returns the rights of which one is enough to approve a request, or why it is
// denied. If neither, it is left to people, and looked at again after a while unless that
// is 0.
func recognize(store object.Reader, r *certificatesv1.CertificateSigningRequest) (grants []grant, refusal string, later time.Duration) {
	if !pending(r) {
		return nil, "", 0
	}
	parsed, err := certificates.ParseRequest(r.Spec.Request)
	if err != nil {
		return nil, "", 0
	}
	self := r.Spec.Username == parsed.Subject.CommonName
	name := strings.TrimPrefix(parsed.Subject.CommonName, nodePrefix)
	switch r.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		if forClient(parsed, r.Spec.Usages) != nil {
			return nil, "", 0
		}
		grants = []grant{{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."}}
		if self {
			return append([]grant{{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."}}, grants...), "", 0
		}
		if findNode(store, name) != nil {
			return nil, fmt.Sprintf("a node named %s has joined already: choose another name (--node-name), or remove that node first (kubectl delete node %[1]s)", name), 0
		}
		return grants, "", 0
	case certificatesv1.KubeletServingSignerName:
		if !self || forServer(parsed, r.Spec.Usages) != nil {
			return nil, "", 0
		}
		if !ownNames(store, name, parsed) {
			return nil, "", lookAgain
		}
		return []grant{{"selfnodeserver", "Auto approving self kubelet server certificate after SubjectAccessReview."}}, "", 0
	}
	return nil, "", 0
}

func findNode(store object.Reader, name string) *corev1.Node {
	return control.Get[corev1.Node](store, object.Key{GroupKind: control.Node, Name: name})
}

// ownNames reports whether a node has all names and addresses of a request, and has each
// address alone: with the certificate for another's, a node could answer for it.
func ownNames(store object.Reader, name string, r *x509.CertificateRequest) bool {
	node := findNode(store, name)
	if node == nil {
		return false
	}
	wanted := slices.Clone(r.DNSNames)
	for _, ip := range r.IPAddresses {
		wanted = append(wanted, ip.String())
	}
	has := func(n *corev1.Node, address string) bool {
		return slices.ContainsFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Address == address })
	}
	for _, address := range wanted {
		if address != name && !has(node, address) {
			return false
		}
	}
	all, _ := store.List(control.Node, "")
	return !slices.ContainsFunc(all, func(obj object.Object) bool {
		other := obj.(*corev1.Node)
		return other.Name != name && slices.ContainsFunc(wanted, func(address string) bool { return address == other.Name || has(other, address) })
	})
}
