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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/certificates"
	"headway.dev/manifests/model/object"
)

// askAgain is when a node's request is looked at again that was not granted:
// somebody may have bound the role meanwhile.
const askAgain = time.Minute

// lookAgain is when a request for a node's server is looked at again whose names the
// Node does not have yet. One that waits for longer than patience is told of, and looked
// at as often as those that nobody has granted.
const lookAgain, patience = 2 * time.Second, 10 * time.Second

const approverSource = "certificate-approving-controller"

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
//
// Who gets the first certificate of a node gets the name with it: the Node is made in the
// same transaction, so that no two machines have one name, and nobody has certificates of
// nodes that will join. No node gets a certificate by which it could answer for the API,
// which serves tells of.
func NewApprover(env control.Env, review Review, serves func(host string) bool) control.Controller {
	return control.Controller{
		Name: "certificatesigningrequest-approving-controller",
		Keys: requests,
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			r := find(env, key)
			if r == nil || review == nil {
				return 0, nil
			}
			q := recognize(env.Store, r, serves)
			if q.refusal != "" {
				return 0, decide(ctx, env, r, certificatesv1.CertificateDenied, "NodeExists", q.refusal)
			}
			for _, g := range q.grants {
				allowed, err := review(ctx, g.question(r))
				if err != nil {
					return 0, fmt.Errorf("ask who may approve %s: %w", key, err)
				}
				if !allowed {
					continue
				}
				var along []change.Change
				if q.joins != "" {
					along = append(along, change.Absent(change.Create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: q.joins}}, env.Now())))
				}
				return 0, decide(ctx, env, r, certificatesv1.CertificateApproved, "AutoApproved", g.message, along...)
			}
			if len(q.grants) > 0 {
				return askAgain, nil
			}
			if q.waitsFor == "" {
				return 0, nil
			}
			if env.Now().Sub(r.CreationTimestamp.Time) < patience {
				return lookAgain, nil
			}
			if node := findNode(env.Store, strings.TrimPrefix(r.Spec.Username, nodePrefix)); node != nil {
				env.Events.Warning(approverSource, node, "ServingCertificateNotApproved",
					"The node's server, for logs and exec, has no certificate: its request %s is not approved: %s", r.Name, q.waitsFor)
			}
			return askAgain, nil
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
func decide(ctx context.Context, env control.Env, r *certificatesv1.CertificateSigningRequest, condition certificatesv1.RequestConditionType, reason, message string, along ...change.Change) error {
	uid := r.UID
	_, err := env.Commit(ctx, change.Tx{Changes: append(along, control.Present(change.PatchApproval(object.KeyOf(requestKind, r), env.Now(),
		func(r *certificatesv1.CertificateSigningRequest) bool {
			if r.UID != uid || !pending(r) {
				return false
			}
			r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
				Type: condition, Status: corev1.ConditionTrue, Reason: reason, Message: message,
			})
			return true
		})))})
	return err
}

// question is what a request comes to.
type question struct {
	// grants are the rights of which one is enough to approve it.
	grants []grant
	// refusal is why it is denied.
	refusal string
	// joins is the name that a machine gets with it.
	joins string
	// waitsFor is why it is left to people for now, and looked at again.
	waitsFor string
}

// recognize finds out what a request comes to.
func recognize(store object.Reader, r *certificatesv1.CertificateSigningRequest, serves func(string) bool) question {
	if !pending(r) {
		return question{}
	}
	parsed, err := certificates.ParseRequest(r.Spec.Request)
	if err != nil {
		return question{}
	}
	self := r.Spec.Username == parsed.Subject.CommonName
	name := strings.TrimPrefix(parsed.Subject.CommonName, nodePrefix)
	switch r.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		if forClient(parsed, r.Spec.Usages) != nil {
			return question{}
		}
		grants := []grant{{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."}}
		switch {
		case self:
			return question{grants: append([]grant{{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."}}, grants...)}
		case serves(name):
			return question{refusal: fmt.Sprintf("%s is a name of the API: choose another name (--node-name)", name)}
		case findNode(store, name) != nil:
			return question{refusal: fmt.Sprintf("a node named %s has joined already: choose another name (--node-name), or remove that node first (kubectl delete node %[1]s)", name)}
		}
		return question{grants: grants, joins: name}
	case certificatesv1.KubeletServingSignerName:
		if !self || forServer(parsed, r.Spec.Usages) != nil {
			return question{}
		}
		if why := foreign(store, name, parsed, serves); why != "" {
			return question{waitsFor: why}
		}
		return question{grants: []grant{{"selfnodeserver", "Auto approving self kubelet server certificate after SubjectAccessReview."}}}
	}
	return question{}
}

func findNode(store object.Reader, name string) *corev1.Node {
	return control.Get[corev1.Node](store, object.Key{GroupKind: control.Node, Name: name})
}

// foreign reports which of a request's names are not the node's own, or not its alone; empty:
// all are, and the node has all its addresses. With the certificate for another's, or for
// the API's, a node could answer for it.
func foreign(store object.Reader, name string, r *x509.CertificateRequest, serves func(string) bool) string {
	node := findNode(store, name)
	if node == nil {
		return "there is no such node"
	}
	for _, n := range r.DNSNames {
		if n != name {
			return fmt.Sprintf("%q is not the node's name", n)
		}
	}
	wanted := slices.Clone(r.DNSNames)
	for _, ip := range r.IPAddresses {
		if ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Sprintf("%s is no address of one machine", ip)
		}
		wanted = append(wanted, ip.String())
	}
	has := func(n *corev1.Node, address string) bool {
		return slices.ContainsFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Address == address })
	}
	all, _ := store.List(control.Node, "")
	for _, address := range wanted {
		switch {
		case serves(address):
			return fmt.Sprintf("%s is the API's: a node on the server's machine needs another address (--node-ip)", address)
		case address != name && !has(node, address):
			return fmt.Sprintf("the node does not have the address %s", address)
		}
		for _, obj := range all {
			if other := obj.(*corev1.Node); other.Name != name && (address == other.Name || has(other, address)) {
				return fmt.Sprintf("%s is the node %s's, too: give each node an address of its own (--node-ip), or remove the other (kubectl delete node %[2]s)", address, other.Name)
			}
		}
	}
	return ""
}
