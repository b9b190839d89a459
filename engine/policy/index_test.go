package policy_test

import (
	"fmt"
	"math/rand"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/engine/policy"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodepolicy"
)

// cluster is what there is, beside an Index that was told of it.
type cluster struct {
	index    policy.Index
	revision uint64
	objects  map[object.Key]object.Object
	// views are what nodes were told so far.
	views map[string]*view
}

type view struct {
	*policy.View
	state nodepolicy.State
}

func newCluster() *cluster {
	return &cluster{objects: map[object.Key]object.Object{}, views: map[string]*view{}}
}

func keyOf(obj object.Object) object.Key {
	kind := schema.GroupKind{}
	switch obj.(type) {
	case *corev1.Pod:
		kind.Kind = "Pod"
	case *corev1.Namespace:
		kind.Kind = "Namespace"
	case *corev1.Node:
		kind.Kind = "Node"
	case *networkingv1.NetworkPolicy:
		kind = schema.GroupKind{Group: "networking.k8s.io", Kind: "NetworkPolicy"}
	}
	return object.Key{GroupKind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

func (c *cluster) set(objs ...object.Object) {
	for _, obj := range objs {
		key := keyOf(obj)
		e := object.Event{Type: object.Added, Key: key, Object: obj}
		if old := c.objects[key]; old != nil {
			e.Type, e.Old = object.Modified, old
		}
		c.objects[key] = obj
		c.tell(e)
	}
}

func (c *cluster) remove(obj object.Object) {
	key := keyOf(obj)
	if old := c.objects[key]; old != nil {
		delete(c.objects, key)
		c.tell(object.Event{Type: object.Deleted, Key: key, Object: old, Old: old})
	}
}

func (c *cluster) tell(e object.Event) {
	c.revision++
	e.Revision = c.revision
	c.index.Observe([]object.Event{e})
}

// follow returns what a node knows now, after changes.
func (c *cluster) follow(node string) *nodepolicy.State {
	v := c.views[node]
	if v == nil {
		v = &view{View: c.index.Open(node)}
		c.views[node] = v
	}
	v.state.Apply(v.Next())
	return &v.state
}

// fresh returns what a node knows that asks for the first time.
func (c *cluster) fresh(node string) *nodepolicy.State {
	v := c.index.Open(node)
	defer v.Close()
	var s nodepolicy.State
	s.Apply(v.Next())
	return &s
}

func namespace(name string, l map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: l}}
}

func pod(ns, name, node, ip string, l map[string]string, ports ...corev1.ContainerPort) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(ns + "/" + name), Labels: l},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Ports: ports}}},
	}
	if ip != "" {
		p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	}
	return p
}

func netpol(ns, name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: spec}
}

// selecting is a selector of one label.
func selecting(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

// passes evaluates what a node was told as its kernel does: whether a connection to or
// from one of its pods is let through there.
func passes(s *nodepolicy.State, from, to *corev1.Pod, protocol string, port uint16) bool {
	if from.UID == to.UID {
		return true
	}
	source, destination := netip.MustParseAddr(from.Status.PodIP), netip.MustParseAddr(to.Status.PodIP)
	for _, m := range s.Groups[nodepolicy.Nodes] {
		if slices.Contains(m.IPs, source) {
			return true
		}
	}
	check := func(id string, peer netip.Addr, egress bool) bool {
		if id == "" {
			return true
		}
		hasName := func(group, name string) bool {
			if !egress {
				return slices.Contains(s.Pods[to.UID].Ports, nodepolicy.NamedPort{Name: name, Protocol: protocol, Port: port})
			}
			for _, m := range s.Groups[group] {
				if slices.Contains(m.IPs, peer) && slices.Contains(m.Ports, nodepolicy.NamedPort{Name: name, Protocol: protocol, Port: port}) {
					return true
				}
			}
			return false
		}
		opens := func(ports []nodepolicy.Port, group string) bool {
			return len(ports) == 0 || slices.ContainsFunc(ports, func(p nodepolicy.Port) bool {
				switch {
				case p.Protocol != protocol:
					return false
				case p.Name != "":
					return hasName(group, p.Name)
				}
				return p.First == 0 || p.First <= port && port <= p.Last
			})
		}
		for _, r := range s.Profiles[id].Rules {
			if r.Any && opens(r.Ports, nodepolicy.Everything) {
				return true
			}
			for _, b := range r.Blocks {
				if b.CIDR.Contains(peer) && !slices.ContainsFunc(b.Except, func(e netip.Prefix) bool { return e.Contains(peer) }) && opens(r.Ports, nodepolicy.Everything) {
					return true
				}
			}
			for _, g := range r.Groups {
				for _, m := range s.Groups[g] {
					if slices.Contains(m.IPs, peer) && opens(r.Ports, g) {
						return true
					}
				}
			}
		}
		return false
	}
	if p := s.Pods[from.UID]; p != nil && !check(p.Egress, destination, true) {
		return false
	}
	if p := s.Pods[to.UID]; p != nil && !check(p.Ingress, source, false) {
		return false
	}
	return true
}

// allowed is what Kubernetes' API reference says of a connection, from the objects.
func (c *cluster) allowed(from, to *corev1.Pod, protocol string, port uint16) bool {
	if from.UID == to.UID {
		return true
	}
	side := func(own, peer *corev1.Pod, t networkingv1.PolicyType) bool {
		isolated := false
		for _, obj := range c.objects {
			p, ok := obj.(*networkingv1.NetworkPolicy)
			if !ok || p.Namespace != own.Namespace || own.Spec.HostNetwork || !slices.Contains(p.Spec.PolicyTypes, t) || !matches(&p.Spec.PodSelector, own.Labels) {
				continue
			}
			isolated = true
			if t == networkingv1.PolicyTypeIngress {
				for _, r := range p.Spec.Ingress {
					if c.peers(p.Namespace, r.From, peer) && ports(r.Ports, to, protocol, port) {
						return true
					}
				}
				continue
			}
			for _, r := range p.Spec.Egress {
				if c.peers(p.Namespace, r.To, peer) && ports(r.Ports, to, protocol, port) {
					return true
				}
			}
		}
		return !isolated
	}
	return side(from, to, networkingv1.PolicyTypeEgress) && side(to, from, networkingv1.PolicyTypeIngress)
}

func matches(s *metav1.LabelSelector, l map[string]string) bool {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && parsed.Matches(labels.Set(l))
}

func (c *cluster) peers(in string, list []networkingv1.NetworkPolicyPeer, of *corev1.Pod) bool {
	if len(list) == 0 {
		return true
	}
	ip := netip.MustParseAddr(of.Status.PodIP)
	for _, p := range list {
		if b := p.IPBlock; b != nil {
			if netip.MustParsePrefix(b.CIDR).Contains(ip) && !slices.ContainsFunc(b.Except, func(e string) bool { return netip.MustParsePrefix(e).Contains(ip) }) {
				return true
			}
			continue
		}
		space, there := c.objects[keyOf(namespace(of.Namespace, nil))].(*corev1.Namespace)
		switch {
		case of.Spec.HostNetwork, of.Status.Phase == corev1.PodSucceeded, of.Status.Phase == corev1.PodFailed:
		case p.NamespaceSelector == nil && of.Namespace != in:
		case p.NamespaceSelector != nil && (!there || !matches(p.NamespaceSelector, space.Labels)):
		case p.PodSelector != nil && !matches(p.PodSelector, of.Labels):
		default:
			return true
		}
	}
	return false
}

func ports(list []networkingv1.NetworkPolicyPort, of *corev1.Pod, protocol string, port uint16) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(p networkingv1.NetworkPolicyPort) bool {
		switch {
		case string(*p.Protocol) != protocol:
			return false
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.Int:
			return int32(port) == p.Port.IntVal || p.EndPort != nil && p.Port.IntVal <= int32(port) && int32(port) <= *p.EndPort
		}
		return slices.ContainsFunc(of.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool {
			return c.Name == p.Port.StrVal && string(c.Protocol) == protocol && c.ContainerPort == int32(port)
		})
	})
}

var (
	web = corev1.ContainerPort{Name: "web", Protocol: corev1.ProtocolTCP, ContainerPort: 8080}
	alt = corev1.ContainerPort{Name: "web", Protocol: corev1.ProtocolTCP, ContainerPort: 8081}
	dns = corev1.ContainerPort{Name: "dns", Protocol: corev1.ProtocolUDP, ContainerPort: 53}
)

// TestIncrementsEqualScratch: after any changes, what nodes were told piece by piece is
// what they would be told at once, and lets through what the API reference says.
func TestIncrementsEqualScratch(t *testing.T) {
	seed := rand.Int63()
	if s := os.Getenv("HEADWAY_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseInt(s, 10, 64)
	}
	t.Logf("HEADWAY_TEST_SEED=%d", seed)
	r := rand.New(rand.NewSource(seed))
	for range 30 {
		story(t, r)
	}
}

var (
	spaces = []string{"a", "b", "c"}
	nodes  = []string{"n1", "n2"}
)

func story(t *testing.T, r *rand.Rand) {
	t.Helper()
	c := newCluster()
	for step := range 120 {
		randomChange(c, r)
		if r.Intn(3) > 0 {
			continue // several changes between two looks
		}
		for _, node := range nodes {
			if diff := cmp.Diff(c.fresh(node), c.follow(node), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Fatalf("step %d, node %s: from scratch (-), by changes (+):\n%s", step, node, diff)
			}
		}
		if step%10 == 0 {
			compare(t, c)
		}
		if r.Intn(20) == 0 { // the node connects anew
			node := nodes[r.Intn(len(nodes))]
			if v := c.views[node]; v != nil {
				v.Close()
				c.views[node] = &view{View: c.index.Open(node), state: v.state}
			}
		}
	}
	for _, obj := range c.objects {
		if _, isNode := obj.(*corev1.Node); !isNode {
			c.remove(obj)
		}
	}
	for _, node := range nodes {
		if s := c.follow(node); len(s.Pods)+len(s.Profiles) > 0 || len(s.Groups) > 1 {
			t.Fatalf("node %s still knows %v of nothing", node, s)
		}
	}
}

// compare asks, for all pairs, what both ends' nodes do.
func compare(t *testing.T, c *cluster) {
	t.Helper()
	var pods []*corev1.Pod
	for _, obj := range c.objects {
		p, ok := obj.(*corev1.Pod)
		if !ok || p.Status.PodIP == "" || p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded {
			continue // it sends and answers nothing
		}
		if _, there := c.objects[keyOf(namespace(p.Namespace, nil))]; there {
			pods = append(pods, p)
		}
	}
	for _, from := range pods {
		for _, to := range pods {
			for _, one := range []struct {
				protocol string
				port     uint16
			}{{"TCP", 8080}, {"TCP", 8081}, {"UDP", 53}, {"SCTP", 8080}} {
				want := c.allowed(from, to, one.protocol, one.port)
				got := passes(c.follow(from.Spec.NodeName), from, to, one.protocol, one.port) && passes(c.follow(to.Spec.NodeName), from, to, one.protocol, one.port)
				if got != want {
					t.Fatalf("%s/%s to %s/%s, %s %d: passes is %v, want %v", from.Namespace, from.Name, to.Namespace, to.Name, one.protocol, one.port, got, want)
				}
			}
		}
	}
}

func randomChange(c *cluster, r *rand.Rand) {
	space := spaces[r.Intn(len(spaces))]
	name := fmt.Sprintf("x%d", r.Intn(4))
	switch r.Intn(10) {
	case 0, 1, 2, 3:
		i := slices.Index(spaces, space)*4 + int(name[1]-'0')
		p := pod(space, name, nodes[i%2], fmt.Sprintf("10.0.%d.%d", i%3, i+1), randomLabels(r), []corev1.ContainerPort{web, alt, dns}[r.Intn(3)])
		switch r.Intn(8) {
		case 0:
			p.Status.PodIP, p.Status.PodIPs = "", nil
		case 1:
			p.Status.Phase = corev1.PodSucceeded
		case 2:
			p.Spec.NodeName, p.Status.PodIP, p.Status.PodIPs = "", "", nil
		}
		if old, ok := c.objects[keyOf(p)].(*corev1.Pod); ok {
			p.Spec.NodeName = old.Spec.NodeName
			if r.Intn(3) == 0 { // made again under its name
				p.UID = types.UID(fmt.Sprint(r.Int63()))
			} else {
				p.UID = old.UID
			}
		}
		c.set(p)
	case 4:
		c.remove(pod(space, name, "", "", nil))
	case 5:
		c.set(namespace(space, randomLabels(r)))
	case 6:
		if r.Intn(4) == 0 {
			c.remove(namespace(space, nil))
		}
	case 7, 8:
		c.set(netpol(space, name, randomSpec(r)))
	default:
		c.remove(netpol(space, name, networkingv1.NetworkPolicySpec{}))
	}
}

func randomLabels(r *rand.Rand) map[string]string {
	l := map[string]string{}
	for _, key := range []string{"app", "tier"} {
		if r.Intn(3) > 0 {
			l[key] = []string{"x", "y"}[r.Intn(2)]
		}
	}
	return l
}

func randomSelector(r *rand.Rand) *metav1.LabelSelector {
	switch r.Intn(5) {
	case 0:
		return &metav1.LabelSelector{}
	case 1:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpExists}}}
	case 2:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}}}}
	}
	return &metav1.LabelSelector{MatchLabels: randomLabels(r)}
}

func randomSpec(r *rand.Rand) networkingv1.NetworkPolicySpec {
	s := networkingv1.NetworkPolicySpec{PodSelector: *randomSelector(r)}
	for _, t := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
		if r.Intn(2) == 0 {
			s.PolicyTypes = append(s.PolicyTypes, t)
		}
	}
	for range r.Intn(3) {
		s.Ingress = append(s.Ingress, networkingv1.NetworkPolicyIngressRule{From: randomPeers(r), Ports: randomPorts(r)})
	}
	for range r.Intn(3) {
		s.Egress = append(s.Egress, networkingv1.NetworkPolicyEgressRule{To: randomPeers(r), Ports: randomPorts(r)})
	}
	return s
}

func randomPeers(r *rand.Rand) (peers []networkingv1.NetworkPolicyPeer) {
	for range r.Intn(3) {
		switch r.Intn(4) {
		case 0:
			peers = append(peers, networkingv1.NetworkPolicyPeer{PodSelector: randomSelector(r)})
		case 1:
			peers = append(peers, networkingv1.NetworkPolicyPeer{NamespaceSelector: randomSelector(r)})
		case 2:
			peers = append(peers, networkingv1.NetworkPolicyPeer{NamespaceSelector: randomSelector(r), PodSelector: randomSelector(r)})
		default:
			peers = append(peers, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/16", Except: []string{fmt.Sprintf("10.0.%d.0/24", r.Intn(3))}}})
		}
	}
	return peers
}

func randomPorts(r *rand.Rand) (list []networkingv1.NetworkPolicyPort) {
	for range r.Intn(3) {
		protocol := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}[r.Intn(3)]
		p := networkingv1.NetworkPolicyPort{Protocol: &protocol}
		switch r.Intn(4) {
		case 0:
			p.Port = new(intstr.FromInt32(8080))
		case 1:
			p.Port, p.EndPort = new(intstr.FromInt32(8000)), new(int32(8080))
		case 2:
			p.Port = new(intstr.FromString("web"))
		}
		list = append(list, p)
	}
	return list
}
