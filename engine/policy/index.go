package policy

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodepolicy"
)

var (
	podKind       = schema.GroupKind{Kind: "Pod"}
	namespaceKind = schema.GroupKind{Kind: "Namespace"}
	nodeKind      = schema.GroupKind{Kind: "Node"}
	policyKind    = schema.GroupKind{Group: networkingv1.GroupName, Kind: "NetworkPolicy"}
)

// Index knows what policies mean for every pod of the cluster. The zero value is
// empty.
type Index struct {
	mu sync.Mutex
	// revision is the store's, up to which events were observed.
	revision   uint64
	namespaces map[string]*namespace
	// nodes are the pods of each node.
	nodes    map[string]map[types.UID]*pod
	groups   map[string]*group
	profiles map[string]*profile
	views    map[string]map[*View]bool // by node
	// nodeGroup are the addresses of nodes, among no namespace's groups.
	nodeGroup *group
}

// namespace is one with pods, policies or labels.
type namespace struct {
	name     string
	labels   labels.Set
	exists   bool // a namespace that is not there matches no selector of namespaces
	pods     map[types.UID]*pod
	policies map[string]*policy
	// groups are those whose members may be in the namespace.
	groups map[*group]bool
}

func (x *Index) setUp() {
	if x.namespaces == nil {
		x.namespaces, x.nodes = map[string]*namespace{}, map[string]map[types.UID]*pod{}
		x.groups, x.profiles = map[string]*group{}, map[string]*profile{}
		x.views, x.nodeGroup = map[string]map[*View]bool{}, newGroup(nodepolicy.Nodes)
	}
}

func (x *Index) namespace(name string) *namespace {
	ns := x.namespaces[name]
	if ns == nil {
		ns = &namespace{name: name, pods: map[types.UID]*pod{}, policies: map[string]*policy{}, groups: map[*group]bool{}}
		for _, g := range x.groups {
			if g.in(name, ns) {
				ns.groups[g] = true
			}
		}
		x.namespaces[name] = ns
	}
	return ns
}

// tidy forgets a namespace of which nothing is left.
func (x *Index) tidy(name string) {
	if ns := x.namespaces[name]; ns != nil && !ns.exists && len(ns.pods) == 0 && len(ns.policies) == 0 {
		delete(x.namespaces, name)
	}
}

// Observe applies changes; it is for store.Options.Observe.
func (x *Index) Observe(events []object.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.setUp()
	for _, e := range events {
		gone := e.Type == object.Deleted
		switch e.Key.GroupKind {
		case podKind:
			x.observePod(e.Object, e.Old, gone)
		case namespaceKind:
			x.observeNamespace(e.Key.Name, e.Object, gone)
		case policyKind:
			x.observePolicy(e.Object, gone)
		case nodeKind:
			x.observeNode(e.Object, gone)
		}
		x.revision = max(x.revision, e.Revision)
	}
	for _, views := range x.views {
		for v := range views {
			v.wake()
		}
	}
}

func (x *Index) observePod(obj, old object.Object, gone bool) {
	is, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	// A pod may have been deleted and made again under its name in one event.
	if was, ok := old.(*corev1.Pod); ok && was.UID != is.UID {
		x.setPod(was.Namespace, was.UID, nil)
	}
	if gone {
		x.setPod(is.Namespace, is.UID, nil)
		x.tidy(is.Namespace)
		return
	}
	x.setPod(is.Namespace, is.UID, read(is))
}

// setPod makes a pod what it is now; nil: it is gone.
func (x *Index) setPod(in string, uid types.UID, next *pod) {
	ns := x.namespace(in)
	old := ns.pods[uid]
	if old == nil && next == nil || old != nil && next != nil && old.same(next) {
		return
	}
	if next == nil {
		delete(ns.pods, uid)
	} else {
		ns.pods[uid] = next
	}
	for g := range ns.groups {
		x.setMember(g, uid, g.member(next))
	}
	var was place
	if old != nil {
		was = old.place
	}
	x.move(ns, uid, next, was)
}

// move finds the profiles of a pod anew, and tells the nodes where it was and is.
func (x *Index) move(ns *namespace, uid types.UID, p *pod, was place) {
	var is place
	if p != nil {
		is = place{node: p.on, ingress: x.profile(ns, p, false), egress: x.profile(ns, p, true)}
		p.place = is
	}
	is.each(func(pr *profile) { pr.pods++ })
	if was.node != "" && was.node != is.node {
		delete(x.nodes[was.node], uid)
		if len(x.nodes[was.node]) == 0 {
			delete(x.nodes, was.node)
		}
		for v := range x.views[was.node] {
			v.pods[uid] = true
			was.each(v.release)
		}
	}
	if is.node != "" {
		if x.nodes[is.node] == nil {
			x.nodes[is.node] = map[types.UID]*pod{}
		}
		x.nodes[is.node][uid] = p
		for v := range x.views[is.node] {
			v.pods[uid] = true
			is.each(v.use)
			if was.node == is.node {
				was.each(v.release)
			}
		}
	}
	was.each(x.releaseProfile)
}

func (x *Index) observeNamespace(name string, obj object.Object, gone bool) {
	is, ok := obj.(*corev1.Namespace)
	if !ok {
		return
	}
	ns := x.namespace(name)
	ns.exists, ns.labels = !gone, maps.Clone(labels.Set(is.Labels))
	for _, g := range x.groups {
		was, in := ns.groups[g], g.in(name, ns)
		if was == in {
			continue
		}
		if in {
			ns.groups[g] = true
		} else {
			delete(ns.groups, g)
		}
		for uid, p := range ns.pods {
			if in {
				x.setMember(g, uid, g.member(p))
			} else {
				x.setMember(g, uid, nil)
			}
		}
	}
	x.tidy(name)
}

func (x *Index) observePolicy(obj object.Object, gone bool) {
	is, ok := obj.(*networkingv1.NetworkPolicy)
	if !ok {
		return
	}
	ns := x.namespace(is.Namespace)
	old := ns.policies[is.Name]
	var next *policy
	if gone {
		delete(ns.policies, is.Name)
	} else {
		next = parse(is)
		if old != nil && old.same(next) {
			return
		}
		ns.policies[is.Name] = next
	}
	for uid, p := range ns.pods {
		if old.selects(p, false) != next.selects(p, false) || old.selects(p, true) != next.selects(p, true) {
			x.move(ns, uid, p, p.place)
		}
	}
	if next != nil && old != nil { // the profiles of pods that stay selected have other rules
		for _, pr := range x.profiles {
			if pr.namespace == is.Namespace && slices.Contains(pr.policies, is.Name) {
				x.write(ns, pr)
			}
		}
	}
	x.tidy(is.Namespace)
}

func (x *Index) observeNode(obj object.Object, gone bool) {
	is, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	var m *nodepolicy.Member
	if cidr, err := netip.ParsePrefix(is.Spec.PodCIDR); err == nil && !gone {
		// The bridge of the node's pods has it: see nodes/network.
		m = &nodepolicy.Member{IPs: []netip.Addr{cidr.Masked().Addr().Next()}}
		for _, text := range is.Spec.PodCIDRs {
			if other, err := netip.ParsePrefix(text); err == nil && other.Addr().Is6() && cidr.Addr().Is4() {
				m.IPs = append(m.IPs, other.Masked().Addr().Next())
			}
		}
	}
	x.setMember(x.nodeGroup, is.UID, m)
}
