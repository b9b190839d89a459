package restrict

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/engine/api/authz"
	"headway.dev/engine/satoken"
	"headway.dev/manifests/model/kinds/certificates"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/nodeconfig"
)

// Node completes what authz.Node cannot tell from the path: a node writes only
// itself, its lease and the pods that are bound to it, changes neither its taints
// nor labels that the scheduler relies on, and gets tokens and certificates only
// for its pods and itself.
func Node(attrs admission.Attributes, reader object.Reader) error {
	name, ok := authz.NodeName(attrs.GetUserInfo())
	if !ok {
		return nil
	}
	if name == "" {
		return admission.NewForbidden(attrs, fmt.Errorf("could not determine node from user %q", attrs.GetUserInfo().GetName()))
	}
	n := node{attrs, name, reader}
	switch attrs.GetResource().GroupResource() {
	case schema.GroupResource{Resource: "pods"}:
		return n.pod()
	case schema.GroupResource{Resource: "persistentvolumes"}:
		return n.volume()
	case schema.GroupResource{Resource: "nodes"}:
		return n.itself()
	case schema.GroupResource{Resource: "serviceaccounts"}:
		if req, ok := attrs.GetObject().(*authenticationv1.TokenRequest); ok {
			return n.token(req.Spec)
		}
	case schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}:
		return n.lease()
	case signingRequests:
		return n.request()
	}
	return nil
}

// node is a request of a node.
type node struct {
	admission.Attributes
	name   string
	reader object.Reader
}

func (n node) refuse(format string, args ...any) error {
	return admission.NewForbidden(n.Attributes, fmt.Errorf(format, args...))
}

// written is the name of what is written, which a creation has in the object.
func (n node) written() string {
	if name := n.GetName(); name != "" {
		return name
	}
	if obj, ok := n.GetObject().(object.Object); ok {
		return obj.GetName()
	}
	return ""
}

func (n node) pod() error {
	switch sub := n.GetSubresource(); sub {
	case "":
		switch n.GetOperation() {
		case admission.Create:
			return n.mirrorPod()
		case admission.Delete:
			return n.ownPod("delete pods")
		}
		return n.refuse("unexpected operation %q, node %q can only create and delete mirror pods", n.GetOperation(), n.name)
	case "status":
		if n.GetOperation() != admission.Update {
			return n.refuse("unexpected operation %q", n.GetOperation())
		}
		old, _ := n.GetOldObject().(*corev1.Pod)
		next, _ := n.GetObject().(*corev1.Pod)
		switch {
		case old == nil || next == nil:
			return n.refuse("unexpected type %T", n.GetObject())
		case old.Spec.NodeName != n.name:
			return n.refuse("node %q can only update pod status for pods with spec.nodeName set to itself", n.name)
		case !maps.Equal(old.Labels, next.Labels):
			return n.refuse("node %q cannot update labels through pod status", n.name)
		}
		return nil
	case "eviction":
		return n.ownPod("evict pods")
	default:
		return n.refuse("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", sub)
	}
}

// ownPod refuses to do something with what is not bound to the node.
func (n node) ownPod(what string) error {
	pod, ok := n.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: n.GetNamespace(), Name: n.written()}).(*corev1.Pod)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, n.written())
	}
	if pod.Spec.NodeName != n.name {
		return n.refuse("node %q can only %s with spec.nodeName set to itself", n.name, what)
	}
	return nil
}

// mirrorPod lets a node create pods that show what it runs anyway, which refer to
// nothing that it may not read.
func (n node) mirrorPod() error {
	pod, ok := n.GetObject().(*corev1.Pod)
	if !ok {
		return n.refuse("unexpected type %T", n.GetObject())
	}
	if _, mirrors := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirrors {
		return n.refuse("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, n.name)
	}
	if pod.Spec.NodeName != n.name {
		return n.refuse("node %q can only create pods with spec.nodeName set to itself", n.name)
	}
	if err := n.owns(pod); err != nil {
		return err
	}
	if pod.Spec.ServiceAccountName != "" {
		return n.refuse("node %q can not create pods that reference a service account", n.name)
	}
	refs := podspec.References(&pod.Spec)
	for _, r := range []struct {
		refers bool
		what   string
	}{
		{refs.Secrets, "secrets"},
		{refs.ConfigMaps, "configmaps"},
		{refs.Bundles, "clustertrustbundles"},
		{refs.Claims, "persistentvolumeclaims"},
		{refs.ResourceClaims, "resourceclaims"},
		{refs.Tokens, "serviceaccounts (via projected volumes)"},
		{refs.Certificates, "podcertificates (via projected volumes)"},
	} {
		if r.refers {
			return n.refuse("node %q can not create pods that reference %s", n.name, r.what)
		}
	}
	return nil
}

// owns refuses pods that are not the node's own, and go with it.
func (n node) owns(pod *corev1.Pod) error {
	if len(pod.OwnerReferences) > 1 {
		return n.refuse("node %q can only create pods with a single owner reference set to itself", n.name)
	}
	if len(pod.OwnerReferences) == 0 {
		return n.refuse("node %q can only create pods with an owner reference set to itself", n.name)
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != n.name:
		return n.refuse("node %q can only create pods with an owner reference set to itself", n.name)
	case owner.Controller == nil || !*owner.Controller:
		return n.refuse("node %q can only create pods with a controller owner reference set to itself", n.name)
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return n.refuse("node %q must not set blockOwnerDeletion on an owner reference", n.name)
	}
	itself, ok := n.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Node"}, Name: n.name}).(*corev1.Node)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, n.name)
	}
	if itself.UID != owner.UID {
		return n.refuse("node %s UID mismatch: expected %s got %s", n.name, owner.UID, itself.UID)
	}
	return nil
}

func (n node) itself() error {
	if name := n.written(); name != n.name {
		return n.refuse("node %q is not allowed to modify node %q", n.name, name)
	}
	next, ok := n.GetObject().(*corev1.Node)
	if !ok {
		return nil
	}
	switch n.GetOperation() {
	case admission.Create:
		if labels := forbiddenLabels(next.Labels, nil); len(labels) > 0 {
			return n.refuse("node %q is not allowed to set the following labels: %s", n.name, strings.Join(labels, ", "))
		}
		return cmp.Or(n.ranges(next, &corev1.Node{}), n.addresses(next, &corev1.Node{}))
	case admission.Update:
		old, ok := n.GetOldObject().(*corev1.Node)
		if !ok {
			return nil
		}
		if !equality.Semantic.DeepEqual(next.Spec.Taints, old.Spec.Taints) {
			return n.refuse("node %q is not allowed to modify taints", n.name)
		}
		if labels := forbiddenLabels(next.Labels, old.Labels); len(labels) > 0 {
			return n.refuse("is not allowed to modify labels: %s", strings.Join(labels, ", "))
		}
		if !equality.Semantic.DeepEqual(next.OwnerReferences, old.OwnerReferences) {
			return n.refuse("node %q is not allowed to modify ownerReferences", n.name)
		}
		return cmp.Or(n.ranges(next, old), n.addresses(next, old))
	}
	return nil
}

// nodeBits is the size of the ranges that nodes get, nodeBits6 of those of IPv6.
const nodeBits, nodeBits6 = 24, 64

// ranges6 reports whether a list is of at most one range of IPv6, as large as nodes get.
func ranges6(list []string) bool {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() != nodeBits6 || p != p.Masked() {
			return false
		}
	}
	return len(list) < 2
}

// ranges lets a node whose Node was deleted say which range its pods have, and nothing
// else: other nodes route there, and it could have the pods of another, or of all.
// Kubernetes' kubelets do not say it.
func (n node) ranges(next, old *corev1.Node) error {
	if next.Spec.PodCIDR == old.Spec.PodCIDR && slices.Equal(next.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		return nil
	}
	mine, err := netip.ParsePrefix(next.Spec.PodCIDR)
	if old.Spec.PodCIDR != "" || err != nil || mine.Bits() != nodeBits || mine != mine.Masked() || len(next.Spec.PodCIDRs) == 0 || next.Spec.PodCIDRs[0] != next.Spec.PodCIDR || !ranges6(next.Spec.PodCIDRs[1:]) {
		return n.refuse("node %q is not allowed to choose its podCIDR", n.name)
	}
	nodes, _ := n.reader.List(schema.GroupKind{Kind: "Node"}, "")
	for _, obj := range nodes {
		other, ok := obj.(*corev1.Node)
		if !ok || other.Name == n.name {
			continue
		}
		if theirs, err := netip.ParsePrefix(other.Spec.PodCIDR); err == nil && theirs.Overlaps(mine) {
			return n.refuse("node %q is not allowed to have the podCIDR %s: that of node %q overlaps it", n.name, mine, other.Name)
		}
		for _, text := range other.Spec.PodCIDRs {
			theirs, err := netip.ParsePrefix(text)
			for _, more := range next.Spec.PodCIDRs[1:] {
				if err == nil && theirs.Overlaps(netip.MustParsePrefix(more)) { // as ranges6 says
					return n.refuse("node %q is not allowed to have the podCIDR %s: that of node %q overlaps it", n.name, more, other.Name)
				}
			}
		}
	}
	return nil
}

// addresses refuses that a node has an address which another has, or which is of the
// cluster's pods or Services: load balancers are reached at nodes' addresses. What it has
// had before stays.
func (n node) addresses(next, old *corev1.Node) error {
	global := func(a corev1.NodeAddress) (netip.Addr, bool) {
		ip, err := netip.ParseAddr(a.Address)
		return ip.Unmap(), err == nil && (a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP) && ip.Unmap().IsGlobalUnicast()
	}
	mine := map[netip.Addr]bool{}
	for _, a := range next.Status.Addresses {
		if ip, ok := global(a); ok && !slices.Contains(old.Status.Addresses, a) {
			mine[ip] = true
		}
	}
	if len(mine) == 0 {
		return nil
	}
	settings, _ := n.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "kube-system", Name: nodeconfig.Name}).(*corev1.ConfigMap)
	if settings != nil {
		if cfg, err := nodeconfig.Parse(settings.Data); err == nil {
			for ip := range mine {
				if slices.ContainsFunc(slices.Concat(cfg.Pods(), cfg.Services()), func(p netip.Prefix) bool { return p.Contains(ip) }) {
					return n.refuse("node %q is not allowed to have the address %s: it is of the cluster's pods or Services", n.name, ip)
				}
			}
		}
	}
	nodes, _ := n.reader.List(schema.GroupKind{Kind: "Node"}, "")
	for _, obj := range nodes {
		other, ok := obj.(*corev1.Node)
		if !ok || other.Name == n.name {
			continue
		}
		for _, a := range other.Status.Addresses {
			if ip, ok := global(a); ok && mine[ip] {
				return n.refuse("node %q is not allowed to have the address %s: node %q has it; delete that Node if its machine is gone", n.name, ip, other.Name)
			}
		}
	}
	return nil
}

// ownLabels are the labels of Kubernetes that a node may set on itself.
var ownLabels = []string{
	corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	corev1.LabelInstanceType, corev1.LabelInstanceTypeStable, corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
	corev1.LabelWindowsBuild,
}

// forbiddenLabels are those that differ and that a node may not change: by some of
// them pods are kept from nodes that are not trusted.
func forbiddenLabels(next, old map[string]string) []string {
	var forbidden []string
	check := func(label string) {
		space, _, slashed := strings.Cut(label, "/")
		in := func(domain string) bool { return slashed && (space == domain || strings.HasSuffix(space, "."+domain)) }
		known := slices.Contains(ownLabels, label) || in("kubelet.kubernetes.io") || in("node.kubernetes.io")
		if in(corev1.LabelNamespaceNodeRestriction) || (in("kubernetes.io") || in("k8s.io")) && !known {
			forbidden = append(forbidden, label)
		}
	}
	for label, value := range next {
		if was, ok := old[label]; !ok || was != value {
			check(label)
		}
	}
	for label := range old {
		if _, ok := next[label]; !ok {
			check(label)
		}
	}
	slices.Sort(forbidden)
	return forbidden
}

func (n node) lease() error {
	if n.GetNamespace() != corev1.NamespaceNodeLease {
		return n.refuse("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	if n.written() != n.name {
		return n.refuse("can only access node lease with the same name as the requesting node")
	}
	return nil
}

// request lets a node ask for certificates of its own only.
func (n node) request() error {
	r, ok := n.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok || n.GetOperation() != admission.Create || n.GetSubresource() != "" {
		return nil
	}
	if s := r.Spec.SignerName; s != certificatesv1.KubeletServingSignerName && s != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	parsed, err := certificates.ParseRequest(r.Spec.Request)
	if err != nil {
		return n.refuse("unable to parse csr: %w", err)
	}
	if own := "system:node:" + n.name; parsed.Subject.CommonName != own {
		return n.refuse("can only create a node CSR with CN=%s", own)
	}
	return nil
}

// token checks that a token which a node asks for is bound to a pod that
// runs there, and for an audience that the pod asks for, as Kubernetes'
// NodeRestriction does.
func (n node) token(spec authenticationv1.TokenRequestSpec) error {
	ref := spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return n.refuse("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return n.refuse("node requested token with a pod binding without a uid")
	}
	pod, ok := n.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: n.GetNamespace(), Name: ref.Name}).(*corev1.Pod)
	if !ok || pod.UID != ref.UID {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, ref.Name)
	}
	if pod.Spec.NodeName != n.name {
		return n.refuse("node requested token bound to a pod scheduled on a different node")
	}
	for _, audience := range spec.Audiences {
		if audience != satoken.URL && !asksFor(pod, audience) {
			return n.refuse("audience %q not found in pod spec volume, system:node:%s is not authorized to request tokens for this audience", audience, n.name)
		}
	}
	return nil
}

// asksFor reports whether a volume of the pod projects a token for an audience.
func asksFor(pod *corev1.Pod, audience string) bool {
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience {
				return true
			}
		}
	}
	return false
}
