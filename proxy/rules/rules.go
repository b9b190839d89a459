package rules

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// The chains that exist independently of services.
const (
	Services    = "HEADWAY-SERVICES"
	NodePorts   = "HEADWAY-NODEPORTS"
	Mark        = "HEADWAY-MARK"
	Postrouting = "HEADWAY-POSTROUTING"
	Reject      = "HEADWAY-REJECT"
	Forward     = "HEADWAY-FORWARD"
	Firewall    = "HEADWAY-FIREWALL"
	// Prefix is the beginning of the names of all our chains.
	Prefix = "HEADWAY-"
)

// mark is the bit of the packet mark that asks for masquerading.
const mark = "0x200000/0x200000"

// Config contains what the rules depend on besides the API objects.
type Config struct {
	// NodeName distinguishes the endpoints of this node from others.
	NodeName string
	// ServiceCIDR is the range of cluster IPs. Connections to other addresses
	// skip the services' rules.
	ServiceCIDR netip.Prefix
	// ClusterCIDR is the range of pod IPs. Connections to a cluster IP from
	// elsewhere are masqueraded, so that the answers come back through this
	// node.
	ClusterCIDR netip.Prefix
	// NodePortAddresses are the ranges of this node's addresses that serve node
	// ports; none means all.
	NodePortAddresses []netip.Prefix
}

// Chain is one chain and everything in it.
type Chain struct {
	Table string // nat or filter
	Name  string
	Rules []string // as iptables-restore reads them, after "-A NAME "
}

// UDPPort is an address of a UDP service. The kernel keeps sending the
// datagrams of a known flow to an endpoint that is gone, so such flows must be
// removed when the endpoints change.
type UDPPort struct {
	IP   netip.Addr // zero for a node port
	Port uint16
}

// Ruleset is the state that iptables should have.
type Ruleset struct {
	// Chains are ordered by table and name.
	Chains []Chain
	// UDP are the endpoints that each UDP port leads to.
	UDP map[UDPPort][]netip.AddrPort
}

// Build computes the rules.
func Build(cfg Config, services []*corev1.Service, endpoints []*discoveryv1.EndpointSlice) Ruleset {
	return NewCompiler(cfg).Compile(services, endpoints)
}

// Compiler computes rulesets one after another, recomputing the rules of a
// service only if the service or its endpoints are different objects than the
// last time. The objects must not be changed in place.
type Compiler struct {
	cfg   Config
	parts map[name]*part
}

// NewCompiler makes a Compiler that has not seen anything yet.
func NewCompiler(cfg Config) *Compiler { return &Compiler{cfg: cfg} }

type name struct{ namespace, name string }

// Compile computes the rules.
func (c *Compiler) Compile(services []*corev1.Service, endpoints []*discoveryv1.EndpointSlice) Ruleset {
	slicesOf := make(map[name][]*discoveryv1.EndpointSlice, len(services))
	for _, s := range endpoints {
		key := name{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
		slicesOf[key] = append(slicesOf[key], s)
	}
	parts := make(map[name]*part, len(services))
	all := make([]*part, 0, len(services))
	for _, svc := range services {
		key := name{svc.Namespace, svc.Name}
		eps := slicesOf[key]
		slices.SortFunc(eps, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
		p := c.parts[key]
		if p == nil || p.svc != svc || !slices.Equal(p.endpoints, eps) {
			p = &part{cfg: c.cfg, svc: svc, endpoints: eps, udp: map[UDPPort][]netip.AddrPort{}}
			p.build()
		}
		parts[key] = p
		all = append(all, p)
	}
	c.parts = parts
	slices.SortFunc(all, func(a, b *part) int {
		return cmp.Or(cmp.Compare(a.svc.Namespace, b.svc.Namespace), cmp.Compare(a.svc.Name, b.svc.Name))
	})
	return assemble(all)
}

// assemble adds to the services' own chains those that all services share.
func assemble(parts []*part) Ruleset {
	out := Ruleset{UDP: map[UDPPort][]netip.AddrPort{}}
	var services, nodePorts, reject, post []string
	hairpin := map[netip.Addr]bool{}
	for _, p := range parts {
		out.Chains = append(out.Chains, p.chains...)
		services = append(services, p.services...)
		nodePorts = append(nodePorts, p.nodePorts...)
		reject = append(reject, p.reject...)
		for _, ip := range p.hairpin {
			hairpin[ip] = true
		}
		maps.Copy(out.UDP, p.udp)
	}
	for _, ip := range slices.SortedFunc(maps.Keys(hairpin), netip.Addr.Compare) {
		post = append(post, fmt.Sprintf("-s %s/32 -d %s/32 -j MASQUERADE", ip, ip))
	}
	post = append(post,
		"-m mark ! --mark "+mark+" -j RETURN",
		// A tunnel copies the mark to the packet that carries this one.
		"-j MARK --xor-mark 0x200000",
		"-j MASQUERADE --random-fully")
	out.Chains = append(out.Chains,
		Chain{"nat", Services, services},
		Chain{"nat", NodePorts, nodePorts},
		Chain{"nat", Mark, []string{"-j MARK --or-mark 0x200000"}},
		Chain{"nat", Postrouting, post},
		Chain{"filter", Reject, reject},
		Chain{"filter", Forward, []string{
			"-m mark --mark " + mark + " -j ACCEPT",
			"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		}},
		Chain{"filter", Firewall, []string{
			// CVE-2020-8558: route_localnet lets neighbours send to 127.0.0.0/8.
			"! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
		}},
	)
	slices.SortFunc(out.Chains, func(a, b Chain) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// nodeAddresses are the matches for "an address of this node that serves node
// ports".
func (c Config) nodeAddresses() []string {
	if len(c.NodePortAddresses) == 0 {
		return []string{"-m addrtype --dst-type LOCAL "}
	}
	var out []string
	for _, p := range c.NodePortAddresses {
		if p.Addr().Is4() {
			out = append(out, fmt.Sprintf("-d %s -m addrtype --dst-type LOCAL ", p.Masked()))
		}
	}
	return out
}
