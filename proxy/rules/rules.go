package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// The chains that exist whatever services there are.
const (
	Services    = "HEADWAY-SERVICES"
	NodePorts   = "HEADWAY-NODEPORTS"
	Mark        = "HEADWAY-MARK"
	Postrouting = "HEADWAY-POSTROUTING"
	Reject      = "HEADWAY-REJECT"
	Forward     = "HEADWAY-FORWARD"
	Firewall    = "HEADWAY-FIREWALL"
	// Prefix is what the names of all our chains begin with.
	Prefix = "HEADWAY-"
)

// mark is the bit of the packet mark that asks for masquerading.
const mark = "0x200000/0x200000"

// Config is what the rules depend on besides the API objects.
type Config struct {
	// NodeName tells the endpoints of this node from others.
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

// UDPPort is where a UDP service is reached. The kernel keeps sending the
// datagrams of a known flow to an endpoint that is gone, so such flows have to
// be forgotten when the endpoints change.
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
	b := builder{cfg: cfg, out: Ruleset{UDP: map[UDPPort][]netip.AddrPort{}}, hairpin: map[netip.Addr]bool{}}
	bySvc := map[[2]string][]*discoveryv1.EndpointSlice{}
	for _, s := range endpoints {
		key := [2]string{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
		bySvc[key] = append(bySvc[key], s)
	}
	services = slices.Clone(services)
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, svc := range services {
		ip, err := netip.ParseAddr(svc.Spec.ClusterIP) // "None" and "" fail
		if err != nil || !ip.Is4() || svc.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		for _, port := range svc.Spec.Ports {
			if port.Protocol == corev1.ProtocolSCTP {
				continue
			}
			b.port(svc, ip, port, choose(bySvc[[2]string{svc.Namespace, svc.Name}], port))
		}
	}
	b.fixed()
	slices.SortFunc(b.out.Chains, func(a, b Chain) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Name, b.Name))
	})
	return b.out
}

type builder struct {
	cfg                         Config
	out                         Ruleset
	services, nodePorts, reject []string
	hairpin                     map[netip.Addr]bool
}

func (b *builder) chain(table, name string, rules []string) {
	b.out.Chains = append(b.out.Chains, Chain{Table: table, Name: name, Rules: rules})
}

// port adds what one port of a service needs.
func (b *builder) port(svc *corev1.Service, ip netip.Addr, port corev1.ServicePort, endpoints []endpoint) {
	name := svc.Namespace + "/" + svc.Name
	if port.Name != "" {
		name += ":" + port.Name
	}
	proto := strings.ToLower(string(cmp.Or(port.Protocol, corev1.ProtocolTCP)))
	id := hash(svc.Namespace, svc.Name, port.Name, proto, fmt.Sprint(port.Port))
	svcChain, extChain := "HEADWAY-SVC-"+id, "HEADWAY-EXT-"+id
	match := fmt.Sprintf("-p %s -m %s --dport %d", proto, proto, port.Port)
	matchNode := fmt.Sprintf("-p %s -m %s --dport %d", proto, proto, port.NodePort)
	comment := fmt.Sprintf("-m comment --comment %q", name)

	for _, e := range endpoints {
		if e.node == b.cfg.NodeName {
			b.hairpin[e.addr.Addr()] = true
		}
	}
	local := slices.DeleteFunc(slices.Clone(endpoints), func(e endpoint) bool { return e.node != b.cfg.NodeName })
	internal, refuse := endpoints, "REJECT"
	if p := svc.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
		if internal = local; len(endpoints) > 0 {
			refuse = "DROP" // other nodes do serve it
		}
	}
	affinity := 0
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		affinity = int(corev1.DefaultClientIPServiceAffinitySeconds)
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			affinity = int(*c.ClientIP.TimeoutSeconds)
		}
	}

	dst := fmt.Sprintf("-d %s/32 %s", ip, match)
	if len(internal) == 0 {
		b.reject = append(b.reject, fmt.Sprintf("%s %s -j %s", dst, comment, refuse))
	} else {
		b.services = append(b.services, fmt.Sprintf("%s %s -j %s", dst, comment, svcChain))
		var rules []string
		if b.cfg.ClusterCIDR.IsValid() {
			rules = append(rules, fmt.Sprintf("! -s %s -d %s/32 -j %s", b.cfg.ClusterCIDR, ip, Mark))
		}
		b.chain("nat", svcChain, append(rules, balance(svcChain, proto, internal, affinity)...))
	}
	if proto == "udp" {
		b.out.UDP[UDPPort{IP: ip, Port: uint16(port.Port)}] = addrs(internal)
	}
	if port.NodePort == 0 {
		return
	}

	external, refuse := endpoints, "REJECT"
	onlyLocal := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	if onlyLocal {
		if external = local; len(endpoints) > 0 {
			refuse = "DROP"
		}
	}
	if proto == "udp" {
		b.out.UDP[UDPPort{Port: uint16(port.NodePort)}] = addrs(external)
	}
	if len(external) == 0 {
		for _, dst := range b.nodeAddresses() {
			b.reject = append(b.reject, fmt.Sprintf("%s%s %s -j %s", dst, matchNode, comment, refuse))
		}
		return
	}
	b.nodePorts = append(b.nodePorts, fmt.Sprintf("%s %s -j %s", matchNode, comment, extChain))
	if onlyLocal {
		// The client's address is kept: the endpoint is on this node, so the
		// answers come back here anyway. Only this node's own connections need
		// another source, because they may come from 127.0.0.1.
		rules := []string{"-m addrtype --src-type LOCAL -j " + Mark}
		b.chain("nat", extChain, append(rules, balance(extChain, proto, external, affinity)...))
		return
	}
	rules := []string{"-j " + Mark}
	if slices.Equal(internal, external) {
		rules = append(rules, "-j "+svcChain)
	} else {
		rules = append(rules, balance(extChain, proto, external, affinity)...)
	}
	b.chain("nat", extChain, rules)
}

// balance spreads new connections evenly: the first of n endpoints takes one
// of n, the next one of n-1 of the rest, the last what is left.
func balance(chain, proto string, endpoints []endpoint, affinity int) []string {
	var stick, spread []string
	for i, e := range endpoints {
		to := fmt.Sprintf("-p %s -j DNAT --to-destination %s", proto, e.addr)
		chance := ""
		if left := len(endpoints) - i; left > 1 {
			chance = fmt.Sprintf("-m statistic --mode random --probability %.10f ", 1/float64(left))
		}
		if affinity > 0 {
			list := "HEADWAY-EP-" + hash(chain, e.addr.String())
			stick = append(stick, fmt.Sprintf("-m recent --name %s --update --seconds %d --reap --rsource %s", list, affinity, to))
			// The chance comes first: --set remembers whoever gets to it.
			chance += fmt.Sprintf("-m recent --name %s --set --rsource ", list)
		}
		spread = append(spread, chance+to)
	}
	return append(stick, spread...)
}

// fixed adds the chains that exist whatever services there are.
func (b *builder) fixed() {
	b.chain("nat", Services, b.services)
	b.chain("nat", NodePorts, b.nodePorts)
	b.chain("nat", Mark, []string{"-j MARK --or-mark 0x200000"})
	var post []string
	for _, ip := range slices.SortedFunc(maps.Keys(b.hairpin), netip.Addr.Compare) {
		post = append(post, fmt.Sprintf("-s %s/32 -d %s/32 -j MASQUERADE", ip, ip))
	}
	post = append(post,
		"-m mark ! --mark "+mark+" -j RETURN",
		// A tunnel copies the mark to the packet that carries this one.
		"-j MARK --xor-mark 0x200000",
		"-j MASQUERADE --random-fully")
	b.chain("nat", Postrouting, post)
	b.chain("filter", Reject, b.reject)
	b.chain("filter", Forward, []string{
		"-m mark --mark " + mark + " -j ACCEPT",
		"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
	})
	b.chain("filter", Firewall, []string{
		// CVE-2020-8558: route_localnet lets neighbours send to 127.0.0.0/8.
		"! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
	})
}

// nodeAddresses are the matches for "an address of this node that serves node
// ports".
func (b *builder) nodeAddresses() []string {
	if len(b.cfg.NodePortAddresses) == 0 {
		return []string{"-m addrtype --dst-type LOCAL "}
	}
	var out []string
	for _, p := range b.cfg.NodePortAddresses {
		if p.Addr().Is4() {
			out = append(out, fmt.Sprintf("-d %s -m addrtype --dst-type LOCAL ", p.Masked()))
		}
	}
	return out
}

// Jump is a rule of a built-in chain that leads to one of ours.
type Jump struct {
	Table, Chain string
	Rule         []string
}

// Jumps lists the jumps from the built-in chains, in the order in which they
// are to be put in front of what is there. Those that lead connections to
// endpoints come last: a connection that they lead there while the rest is
// missing would not be masqueraded, for as long as it lives.
func Jumps(cfg Config) []Jump {
	comment := []string{"-m", "comment", "--comment", "headway service proxy"}
	jump := func(table, chain, to string, match ...string) Jump {
		return Jump{table, chain, slices.Concat(match, comment, []string{"-j", to})}
	}
	var services []string
	if cfg.ServiceCIDR.IsValid() {
		services = []string{"-d", cfg.ServiceCIDR.Masked().String()}
	}
	isNew := []string{"-m", "conntrack", "--ctstate", "NEW"}
	out := []Jump{
		jump("nat", "POSTROUTING", Postrouting),
		jump("filter", "FORWARD", Forward),
		jump("filter", "INPUT", Reject, isNew...),
		jump("filter", "FORWARD", Reject, isNew...),
		jump("filter", "OUTPUT", Reject, isNew...),
		jump("filter", "INPUT", Firewall),
		jump("filter", "OUTPUT", Firewall),
	}
	for _, chain := range []string{"PREROUTING", "OUTPUT"} {
		for _, dst := range (&builder{cfg: cfg}).nodeAddresses() {
			out = append(out, jump("nat", chain, NodePorts, strings.Fields(dst)...))
		}
		out = append(out, jump("nat", chain, Services, services...))
	}
	return out
}

// hash makes a short name that is the same on every node.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}
