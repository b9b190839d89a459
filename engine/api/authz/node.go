package authz

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodeconfig"
	"headway.dev/manifests/nodepolicy"
)

var (
	podKind    = schema.GroupKind{Kind: "Pod"}
	volumeKind = schema.GroupKind{Kind: "PersistentVolume"}
)

// NodeName returns the name of the node that a user is: system:node:NAME in the
// group system:nodes, as in Kubernetes.
func NodeName(u user.Info) (name string, ok bool) {
	if !memberOf(u, user.NodesGroup) {
		return "", false
	}
	return strings.CutPrefix(u.GetName(), "system:node:")
}

// IsNode reports whether who asks is a node itself, whatever rights others have, and
// refuses otherwise.
func IsNode(w http.ResponseWriter, r *http.Request, node string) bool {
	u, _ := genericapirequest.UserFrom(r.Context())
	if u == nil {
		http.Error(w, "missing user", http.StatusForbidden)
		return false
	}
	if name, ok := NodeName(u); !ok || name != node {
		http.Error(w, fmt.Sprintf("User %q cannot ask for %s: only node %q can", u.GetName(), r.URL.Path, node), http.StatusForbidden)
		return false
	}
	return true
}

// Node grants a node what its agent and proxy need: itself, the pods bound to
// it, its lease, the ConfigMaps, Secrets and claims that its pods refer to, tokens
// of their service accounts, what NetworkPolicies mean for its pods, and what traffic to
// services needs: also the Ingresses, and the certificates that those of Headway's own
// controller name.
//
// What a request's path does not tell (the name of a node or lease that is
// being created) is checked at admission.
type Node struct {
	Reader object.Reader
	Graph  *Graph
}

// access is a node's relation to one resource.
type access struct {
	group, resource string
	verbs           []string
	// scope tells for one object whether the node may, and why not. nil
	// grants all objects.
	scope func(n Node, node string, a authorizer.Attributes) (refusal string)
}

// dnsSettings is the name of the ConfigMap in kube-system that nodes/dns/settings reads.
const dnsSettings = "headway-dns"

var (
	read = []string{"get", "list", "watch"}

	nodeAccess = []access{
		{"", "services", read, nil},
		{"", "namespaces", read, nil},
		{"", "endpoints", read, nil},
		{"discovery.k8s.io", "endpointslices", read, nil},
		{"", "nodes", slices.Concat(read, []string{"create"}), nil},
		{"", "nodes", []string{"update", "patch"}, ownNode},
		{"", "nodes/status", []string{"get", "update", "patch"}, ownNode},
		{"", "events", []string{"create", "update", "patch"}, nil},
		{"events.k8s.io", "events", []string{"create", "update", "patch"}, nil},
		{"", "pods", slices.Concat(read, []string{"delete"}), ownPod},
		{"", "pods", []string{"create"}, nil}, // those that mirror its own
		{"", "pods/status", []string{"get", "update", "patch"}, ownPod},
		{"", "pods/eviction", []string{"create"}, ownPod},
		{"", configMaps, read, referencedOrDNS},
		{"", secrets, read, referencedOrCertificate},
		{"networking.k8s.io", "ingresses", read, nil},
		{"networking.k8s.io", "ingressclasses", read, nil},
		{gatewayv1.GroupName, "gatewayclasses", read, nil},
		{gatewayv1.GroupName, "gateways", read, nil},
		{gatewayv1.GroupName, "httproutes", read, nil},
		{gatewayv1.GroupName, "grpcroutes", read, nil},
		{gatewayv1.GroupName, "referencegrants", read, nil},
		{"", claims, []string{"get"}, referenced},
		{"node.k8s.io", "runtimeclasses", read, nil},
		{"", "persistentvolumes", slices.Concat(read, []string{"patch"}), ownVolume},
		{"", "serviceaccounts/token", []string{"create"}, accountOfPod},
		// Its server asks who may read logs and run commands.
		{"authentication.k8s.io", "tokenreviews", []string{"create"}, nil},
		{"authorization.k8s.io", "subjectaccessreviews", []string{"create"}, nil},
		{"authorization.k8s.io", "localsubjectaccessreviews", []string{"create"}, nil},
		{"certificates.k8s.io", "certificatesigningrequests", slices.Concat(read, []string{"create"}), nil},
		{"coordination.k8s.io", "leases", []string{"get", "create", "update", "patch", "delete"}, ownLease},
	}
)

// Authorize implements authorizer.AuthorizerFunc.
func (n Node) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	node, ok := NodeName(a.GetUser())
	if !ok {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if !a.IsResourceRequest() {
		if node != "" && a.GetVerb() == "get" && (a.GetPath() == nodepolicy.Path(node) || a.GetPath() == nodeconfig.TunnelPath(node)) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	}
	if node == "" {
		// Pods that are bound to no node are not its own.
		return authorizer.DecisionNoOpinion, fmt.Sprintf("unknown node for user %q", a.GetUser().GetName()), nil
	}
	resource := a.GetResource()
	if sub := a.GetSubresource(); sub != "" {
		resource += "/" + sub
	}
	var refusal string
	for _, rule := range nodeAccess {
		if rule.group != a.GetAPIGroup() || rule.resource != resource || !slices.Contains(rule.verbs, a.GetVerb()) {
			continue
		}
		if rule.scope == nil {
			return authorizer.DecisionAllow, "", nil
		}
		if refusal = rule.scope(n, node, a); refusal == "" {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, refusal, nil
}

func ownNode(_ Node, node string, a authorizer.Attributes) string {
	if a.GetName() == node {
		return ""
	}
	return fmt.Sprintf("node '%s' cannot modify other nodes", node)
}

func ownLease(_ Node, node string, a authorizer.Attributes) string {
	switch {
	case a.GetNamespace() != corev1.NamespaceNodeLease:
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case a.GetVerb() == "create" || a.GetName() == node:
		return ""
	}
	return "can only access node lease with the same name as the requesting node"
}

func ownPod(n Node, node string, a authorizer.Attributes) string {
	if a.GetVerb() == "list" || a.GetVerb() == "watch" {
		if selected(a, "spec.nodeName") == node {
			return ""
		}
		if a.GetName() == "" {
			return "can only list/watch pods with spec.nodeName field selector"
		}
	}
	// A pod that does not exist may be asked for by its name, or the agent
	// could not learn that it is gone.
	pod, ok := n.Reader.Get(object.Key{GroupKind: podKind, Namespace: a.GetNamespace(), Name: a.GetName()}).(*corev1.Pod)
	if !ok || pod == nil || pod.Spec.NodeName == node {
		return ""
	}
	return fmt.Sprintf("no relationship found between node '%s' and this object", node)
}

func referenced(n Node, node string, a authorizer.Attributes) string {
	name := a.GetName()
	if name == "" {
		name = selected(a, "metadata.name")
	}
	if name == "" || a.GetNamespace() == "" {
		return "can only read namespaced object of this type"
	}
	return n.related(node, a.GetResource(), a.GetNamespace(), name)
}

// referencedOrDNS also grants the settings of the name server that each node has.
func referencedOrDNS(n Node, node string, a authorizer.Attributes) string {
	if a.GetNamespace() == metav1.NamespaceSystem && (a.GetName() == dnsSettings || a.GetName() == "" && selected(a, "metadata.name") == dnsSettings) {
		return ""
	}
	return referenced(n, node, a)
}

// referencedOrCertificate also grants the Secrets that Ingresses of Headway's own
// controller name, as each node may serve those, to a list or watch of the type
// kubernetes.io/tls alone: so the node is told of no other, also if the name gets a Secret
// of another type later.
func referencedOrCertificate(n Node, node string, a authorizer.Attributes) string {
	name := a.GetName()
	if name == "" {
		name = selected(a, "metadata.name")
	}
	if a.GetVerb() != "get" && name != "" && selected(a, "type") == string(corev1.SecretTypeTLS) && n.Graph.Certificate(a.GetNamespace(), name) {
		return ""
	}
	return referenced(n, node, a)
}

// ownVolume grants the volumes that claims of the node's pods are bound to, and those
// that have their data on the node, which it asks for by their label: it removes the
// data of those that are deleted, and says so (restrict.Node).
func ownVolume(n Node, node string, a authorizer.Attributes) string {
	if a.GetVerb() == "list" || a.GetVerb() == "watch" {
		requirements, _ := a.GetLabelSelector()
		for _, r := range requirements {
			if values := r.Values().UnsortedList(); r.Key() == storage.NodeLabel && len(values) == 1 && values[0] == node &&
				(r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals || r.Operator() == selection.In) {
				return ""
			}
		}
		return "can only list/watch persistentvolumes with " + storage.NodeLabel + " label selector"
	}
	pv, _ := n.Reader.Get(object.Key{GroupKind: volumeKind, Name: a.GetName()}).(*corev1.PersistentVolume)
	if pv != nil && pv.Labels[storage.NodeLabel] == node {
		return ""
	}
	if pv != nil && a.GetVerb() == "get" && pv.Spec.ClaimRef != nil {
		return n.related(node, claims, pv.Spec.ClaimRef.Namespace, pv.Spec.ClaimRef.Name)
	}
	return fmt.Sprintf("no relationship found between node '%s' and this object", node)
}

// accountOfPod grants tokens of the accounts that the node's pods run with.
// That the token is bound to such a pod is checked at admission.
func accountOfPod(n Node, node string, a authorizer.Attributes) string {
	return n.related(node, serviceAccounts, a.GetNamespace(), a.GetName())
}

// related refuses what no pod on the node refers to.
func (n Node) related(node, resource, namespace, name string) string {
	if n.Graph.Refers(node, resource, namespace, name) {
		return ""
	}
	return fmt.Sprintf("no relationship found between node '%s' and this object", node)
}

// selected is the value that the request's field selector pins a field to, as far as
// the selector is understood: what is not can only narrow it.
func selected(a authorizer.Attributes, field string) string {
	requirements, _ := a.GetFieldSelector()
	for _, r := range requirements {
		if r.Field == field && (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals) {
			return r.Value
		}
	}
	return ""
}
