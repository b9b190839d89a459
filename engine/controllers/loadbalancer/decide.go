package loadbalancer

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is what counts of a Node.
type Node struct {
	Name string
	// IPs are the addresses at which clients reach it.
	IPs []netip.Addr
	// Usable is false for a node that is not ready, or that has the label
	// node.kubernetes.io/exclude-from-external-load-balancers.
	Usable bool
	// Ingress says that it serves Ingresses, and AgentPort where its agent listens.
	Ingress   bool
	AgentPort int32
}

// Port is one that no Service gets on the addresses of nodes.
type Port struct {
	Protocol corev1.Protocol
	Number   int32
}

// Input is all that the decision depends on.
type Input struct {
	// Pool is where addresses are from; without one they are those of the nodes.
	Pool     []Range
	Services []*corev1.Service // those that want an address from here
	Nodes    []Node
	// Local are the nodes with an endpoint that is ready, of Services with
	// externalTrafficPolicy Local.
	Local map[types.NamespacedName]map[string]bool
	// Given are ports of Services that had them when no node was ready, whose status
	// tells of none.
	Given map[types.NamespacedName][]Port
	// Taken are ports that nodes need themselves, by what needs them.
	Taken map[Port]string
	// Reserved are ports of others, which a Service keeps that had them before.
	Reserved map[Port]Reserved
}

// Reserved says whose a port is.
type Reserved struct {
	// Service has it as a node port; it may have it as a port, too.
	Service types.NamespacedName
	// By is what has it.
	By string
}

// Outcome is what one Service gets.
type Outcome struct {
	// IPs are its addresses, in order; none if Problem tells why.
	IPs []netip.Addr
	// By is the node that answers for the address, EveryNode if each has its own, or
	// empty if there is none.
	By string
	// Ports are those that it has of the nodes' addresses, which its status keeps.
	Ports   []Port
	Problem string
}

// EveryNode is no name of a node.
const EveryNode = "*"

// Decide gives all Services their addresses. What one has it keeps, as long as it may
// have it; of two that want the same the older gets it.
func Decide(in Input) map[types.NamespacedName]Outcome {
	services := slices.SortedFunc(slices.Values(in.Services), func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var without []*corev1.Service
	services = slices.DeleteFunc(services, func(svc *corev1.Service) bool {
		is := len(svc.Spec.IPFamilies) > 0 && !slices.Contains(svc.Spec.IPFamilies, corev1.IPv4Protocol)
		if is {
			without = append(without, svc)
		}
		return is
	})
	decide := fromNodes
	if len(in.Pool) > 0 {
		decide = fromPool
	}
	out := decide(in, services)
	for _, svc := range without {
		out[nameOf(svc)] = Outcome{Problem: "addresses of load balancers are of IPv4, which is not one of spec.ipFamilies: give the Service both families, or the type NodePort"}
	}
	return out
}

func nameOf(svc *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

// fromNodes gives all Services the addresses of all nodes, with a port for one of them.
func fromNodes(in Input, services []*corev1.Service) map[types.NamespacedName]Outcome {
	out := map[types.NamespacedName]Outcome{}
	owners := map[Port]types.NamespacedName{}
	// Ports that were given are kept, whoever is older, before any is given anew.
	for _, svc := range services {
		for _, at := range ports(svc) {
			if _, taken := owners[at]; !taken && (held(svc, at) || slices.Contains(in.Given[nameOf(svc)], at)) {
				owners[at] = nameOf(svc)
			}
		}
	}
	for _, svc := range services {
		name := nameOf(svc)
		if problem := portProblem(in, owners, svc); problem != "" {
			out[name] = Outcome{Problem: problem}
			continue
		}
		var ips []netip.Addr
		for _, n := range candidates(in, svc) {
			ips = append(ips, n.IPs...)
		}
		slices.SortFunc(ips, netip.Addr.Compare)
		ips = slices.Compact(ips)
		if want := svc.Spec.LoadBalancerIP; want != "" && len(ips) > 0 {
			ip, err := netip.ParseAddr(want)
			if err != nil || !slices.Contains(ips, ip) {
				out[name] = Outcome{Problem: fmt.Sprintf("spec.loadBalancerIP %s is not the address of a node that may serve it, and there is no pool of addresses", want)}
				continue
			}
			ips = []netip.Addr{ip}
		}
		for _, at := range ports(svc) {
			owners[at] = name
		}
		if len(ips) == 0 {
			out[name] = Outcome{By: EveryNode, Ports: ports(svc), Problem: "no node is ready that may serve it"}
			continue
		}
		out[name] = Outcome{IPs: ips, By: EveryNode, Ports: ports(svc)}
	}
	return out
}

// portProblem says who has a port that a Service wants, and what to do.
func portProblem(in Input, owners map[Port]types.NamespacedName, svc *corev1.Service) string {
	const remedy = "choose another port, or give a pool of addresses by the ConfigMap " + metav1.NamespaceSystem + "/" + Settings
	for _, at := range ports(svc) {
		of := fmt.Sprintf("port %d/%s of the nodes", at.Number, at.Protocol)
		owner, owned := owners[at]
		if owned && owner != nameOf(svc) {
			return fmt.Sprintf("%s belongs to the Service %s: %s", of, owner, remedy)
		}
		if by, taken := in.Taken[at]; taken {
			return fmt.Sprintf("%s is that of %s: %s", of, by, remedy)
		}
		if r, is := in.Reserved[at]; is && !owned && r.Service != nameOf(svc) {
			return fmt.Sprintf("%s is that of %s: %s", of, r.By, remedy)
		}
	}
	return ""
}

func ports(svc *corev1.Service) []Port {
	var out []Port
	for _, p := range svc.Spec.Ports {
		out = append(out, Port{protocol(p), p.Port})
	}
	return out
}

// held reports whether a Service was given a port of the nodes.
func held(svc *corev1.Service, at Port) bool {
	return slices.ContainsFunc(svc.Status.LoadBalancer.Ingress, func(in corev1.LoadBalancerIngress) bool {
		return slices.Contains(in.Ports, corev1.PortStatus{Port: at.Number, Protocol: at.Protocol})
	})
}

func protocol(p corev1.ServicePort) corev1.Protocol { return cmp.Or(p.Protocol, corev1.ProtocolTCP) }

// fromPool gives each Service an address of its own.
func fromPool(in Input, services []*corev1.Service) map[types.NamespacedName]Outcome {
	out := map[types.NamespacedName]Outcome{}
	taken := map[netip.Addr]types.NamespacedName{}
	give := func(svc *corev1.Service, ip netip.Addr) {
		taken[ip] = nameOf(svc)
		out[nameOf(svc)] = Outcome{IPs: []netip.Addr{ip}, By: announcer(in, svc, ip)}
	}
	var without []*corev1.Service
	for _, svc := range services { // who has one comes before who has none
		if ip, ok := has(in.Pool, svc); ok && taken[ip] == (types.NamespacedName{}) {
			give(svc, ip)
		} else {
			without = append(without, svc)
		}
	}
	// Nodes' own addresses are nobody else's; but a node that claims one which a Service
	// has takes it from nobody.
	for _, n := range in.Nodes {
		for _, ip := range n.IPs {
			if _, is := taken[ip]; !is {
				taken[ip] = types.NamespacedName{Name: n.Name}
			}
		}
	}
	for _, wishes := range []bool{true, false} { // who wants a certain one comes before who wants any
		for _, svc := range without {
			if want := svc.Spec.LoadBalancerIP; (want != "") == wishes {
				if ip, problem := free(in.Pool, taken, want); problem == "" {
					give(svc, ip)
				} else {
					out[nameOf(svc)] = Outcome{Problem: problem}
				}
			}
		}
	}
	return out
}

// has is the address that a Service has already, if it may keep it.
func has(pool []Range, svc *corev1.Service) (netip.Addr, bool) {
	for _, in := range svc.Status.LoadBalancer.Ingress {
		ip, err := netip.ParseAddr(in.IP)
		if err == nil && inPool(pool, ip) && (svc.Spec.LoadBalancerIP == "" || svc.Spec.LoadBalancerIP == in.IP) {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

func inPool(pool []Range, ip netip.Addr) bool {
	return slices.ContainsFunc(pool, func(r Range) bool { return r.contains(ip) })
}

func free(pool []Range, taken map[netip.Addr]types.NamespacedName, want string) (ip netip.Addr, problem string) {
	if want != "" {
		ip, err := netip.ParseAddr(want)
		if err != nil || !inPool(pool, ip) {
			return ip, fmt.Sprintf("spec.loadBalancerIP %s is not in the pool of addresses", want)
		}
		if by, is := taken[ip]; is {
			return ip, fmt.Sprintf("spec.loadBalancerIP %s belongs to %s", want, strings.TrimPrefix(by.String(), "/"))
		}
		return ip, ""
	}
	for _, r := range pool {
		for ip := r.First; ip.IsValid() && r.contains(ip); ip = ip.Next() {
			if _, is := taken[ip]; !is {
				return ip, ""
			}
		}
	}
	return netip.Addr{}, "all addresses of the pool are taken: add some to it, or delete a Service of type LoadBalancer"
}

// candidates are the nodes that may serve a Service, in order. With the policy Local
// those are the ones with an endpoint; if there is none, all: who connects is told so.
func candidates(in Input, svc *corev1.Service) []Node {
	var all, local []Node
	for _, n := range in.Nodes {
		if !n.Usable || len(n.IPs) == 0 {
			continue
		}
		all = append(all, n)
		if in.Local[nameOf(svc)][n.Name] {
			local = append(local, n)
		}
	}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && len(local) > 0 {
		return local
	}
	return all
}

// announcer is the node that answers for an address: the one that does already, if it
// may, or else one that is as good as random, but the same for the same nodes.
func announcer(in Input, svc *corev1.Service, ip netip.Addr) string {
	nodes := candidates(in, svc)
	if len(nodes) == 0 {
		return ""
	}
	now := svc.Annotations[Annotation]
	if slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == now }) {
		return now
	}
	weight := func(n Node) string {
		sum := sha256.Sum256([]byte(ip.String() + " " + n.Name))
		return string(sum[:])
	}
	return slices.MaxFunc(nodes, func(a, b Node) int { return cmp.Compare(weight(a), weight(b)) }).Name
}
