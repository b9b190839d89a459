package policy

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	netutils "k8s.io/utils/net"

	"headway.dev/manifests/nodepolicy"
)

// policy is a NetworkPolicy, with its selector parsed.
type policy struct {
	spec *networkingv1.NetworkPolicySpec
	pods labels.Selector
}

func parse(p *networkingv1.NetworkPolicy) *policy {
	return &policy{spec: &p.Spec, pods: selector(&p.Spec.PodSelector)}
}

// selector selects nothing if there are values in it that no label can have.
func selector(s *metav1.LabelSelector) labels.Selector {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return parsed
}

func (p *policy) same(q *policy) bool { return equality.Semantic.DeepEqual(p.spec, q.spec) }

// selects reports whether the policy isolates a pod in a direction.
func (p *policy) selects(of *pod, egress bool) bool {
	if p == nil {
		return false
	}
	t := networkingv1.PolicyTypeIngress
	if egress {
		t = networkingv1.PolicyTypeEgress
	}
	return slices.Contains(p.spec.PolicyTypes, t) && p.pods.Matches(of.labels)
}

// profile is what the policies that select a pod allow together, in one direction.
type profile struct {
	id        string
	egress    bool
	namespace string
	policies  []string // names, sorted
	rules     []nodepolicy.Rule
	groups    []*group
	// pods is how many have the profile, views which nodes are told of it.
	pods  int
	views map[*View]bool
}

func (p *profile) wire() *nodepolicy.Profile {
	return &nodepolicy.Profile{Egress: p.egress, Rules: p.rules}
}

// profile finds the profile of a pod; nil: it is not isolated.
func (x *Index) profile(ns *namespace, p *pod, egress bool) *profile {
	if p.on == "" {
		return nil // policies mean nothing for it
	}
	var names []string
	for name, one := range ns.policies {
		if one.selects(p, egress) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	in := ns.name
	direction := "i"
	if egress {
		direction = "e"
	}
	id := direction + hash(append([]string{in}, names...)...)
	pr := x.profiles[id]
	if pr == nil {
		pr = &profile{id: id, egress: egress, namespace: in, policies: names, views: map[*View]bool{}}
		x.profiles[id] = pr
		x.write(ns, pr)
	}
	return pr
}

func (x *Index) releaseProfile(pr *profile) {
	if pr.pods--; pr.pods > 0 {
		return
	}
	delete(x.profiles, pr.id)
	for _, g := range pr.groups {
		x.releaseGroup(g)
	}
}

// write makes the rules of a profile what its policies say now.
func (x *Index) write(ns *namespace, pr *profile) {
	old := pr.groups
	pr.rules, pr.groups = nil, nil
	w := writer{index: x, namespace: pr.namespace, groups: map[string]*group{}}
	said := map[string]bool{}
	for _, name := range pr.policies {
		p := ns.policies[name]
		if p == nil {
			continue
		}
		for _, r := range w.rules(p.spec, pr.egress) {
			if key, err := json.Marshal(r); err == nil && !said[string(key)] {
				said[string(key)] = true
				pr.rules = append(pr.rules, r)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.groups)) {
		pr.groups = append(pr.groups, w.groups[id])
	}
	for v := range pr.views {
		v.profiles[pr.id] = true
		for _, g := range pr.groups {
			v.useGroup(g)
		}
		for _, g := range old {
			v.releaseGroup(g)
		}
	}
	for _, g := range old {
		x.releaseGroup(g)
	}
}

// writer turns rules of a namespace into those for nodes.
type writer struct {
	index     *Index
	namespace string
	groups    map[string]*group
}

func (w *writer) rules(s *networkingv1.NetworkPolicySpec, egress bool) (rules []nodepolicy.Rule) {
	if egress {
		for _, r := range s.Egress {
			rules = append(rules, w.rule(r.To, r.Ports, true))
		}
		return rules
	}
	for _, r := range s.Ingress {
		rules = append(rules, w.rule(r.From, r.Ports, false))
	}
	return rules
}

func (w *writer) rule(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, egress bool) nodepolicy.Rule {
	r := nodepolicy.Rule{Any: len(peers) == 0}
	named := false
	for _, p := range ports {
		port := portOf(p)
		named = named || port.Name != ""
		r.Ports = append(r.Ports, port)
	}
	for _, p := range peers {
		if p.IPBlock != nil {
			if b, ok := block(p.IPBlock); ok {
				r.Blocks = append(r.Blocks, b)
			}
			continue
		}
		r.Groups = append(r.Groups, w.group(w.peer(p)))
	}
	if egress && named && (r.Any || len(r.Blocks) > 0) {
		// Which port that is, the pods there say.
		w.group(peer{namespaces: labels.Everything(), pods: labels.Everything()})
	}
	return r
}

func (w *writer) peer(p networkingv1.NetworkPolicyPeer) peer {
	out := peer{pods: labels.Everything()}
	if p.PodSelector != nil {
		out.pods = selector(p.PodSelector)
	}
	if p.NamespaceSelector == nil {
		out.namespace = w.namespace
	} else {
		out.namespaces = selector(p.NamespaceSelector)
	}
	return out
}

// group names a group once for the profile.
func (w *writer) group(p peer) string {
	id := p.id()
	if w.groups[id] == nil {
		w.groups[id] = w.index.useGroup(p)
	}
	return id
}

func portOf(p networkingv1.NetworkPolicyPort) nodepolicy.Port {
	out := nodepolicy.Port{Protocol: string(corev1.ProtocolTCP)}
	if p.Protocol != nil {
		out.Protocol = string(*p.Protocol)
	}
	switch {
	case p.Port == nil:
	case p.Port.Type == intstr.String:
		out.Name = p.Port.StrVal
	default:
		out.First, out.Last = uint16(p.Port.IntVal), uint16(p.Port.IntVal)
		if p.EndPort != nil {
			out.Last = uint16(*p.EndPort)
		}
	}
	return out
}

// block reads a range of addresses as validation does; what cannot be read is refused
// there.
func block(b *networkingv1.IPBlock) (nodepolicy.Block, bool) {
	cidr, ok := prefix(b.CIDR)
	if !ok {
		return nodepolicy.Block{}, false
	}
	out := nodepolicy.Block{CIDR: cidr}
	for _, e := range b.Except {
		except, ok := prefix(e)
		if !ok {
			return nodepolicy.Block{}, false
		}
		out.Except = append(out.Except, except)
	}
	return out, true
}

func prefix(text string) (netip.Prefix, bool) {
	_, n, err := netutils.ParseCIDRSloppy(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	p := netip.PrefixFrom(addr.Unmap(), bits)
	return p, ok && p.IsValid()
}
