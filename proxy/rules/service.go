package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// part is what one service adds to the rules.
type part struct {
	cfg       Config
	svc       *corev1.Service
	endpoints []*discoveryv1.EndpointSlice

	chains                      []Chain
	services, nodePorts, reject []string // rules of the shared chains
	hairpin                     []netip.Addr
	udp                         map[UDPPort][]netip.AddrPort
}

func (p *part) build() {
	ip, err := netip.ParseAddr(p.svc.Spec.ClusterIP) // "None" and "" fail
	if err != nil || !ip.Is4() || p.svc.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	for _, port := range p.svc.Spec.Ports {
		if port.Protocol != corev1.ProtocolSCTP {
			p.port(p.svc, ip, port, usable(p.endpoints, port))
		}
	}
}

func (p *part) chain(name string, rules []string) {
	p.chains = append(p.chains, Chain{Table: "nat", Name: name, Rules: rules})
}

// port adds what one port of a service needs.
func (p *part) port(svc *corev1.Service, ip netip.Addr, port corev1.ServicePort, all []endpoint) {
	name := svc.Namespace + "/" + svc.Name
	if port.Name != "" {
		name += ":" + port.Name
	}
	proto := strings.ToLower(string(cmp.Or(port.Protocol, corev1.ProtocolTCP)))
	id := hash(svc.Namespace, svc.Name, port.Name, proto, fmt.Sprint(port.Port))
	svcChain, extChain := svcPrefix+id, extPrefix+id
	match := fmt.Sprintf("-p %s -m %s --dport %d", proto, proto, port.Port)
	matchNode := fmt.Sprintf("-p %s -m %s --dport %d", proto, proto, port.NodePort)
	comment := fmt.Sprintf("-m comment --comment %q", name)

	// The endpoints of the whole cluster, and those of this node: one that
	// terminates here may be the best of this node while others are ready
	// elsewhere.
	cluster, local := prefer(all), prefer(on(p.cfg.NodeName, all))
	for _, e := range slices.Concat(on(p.cfg.NodeName, cluster), local) {
		p.hairpin = append(p.hairpin, e.addr.Addr())
	}
	internal, refuse := cluster, "REJECT"
	internalLocal := svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	if internalLocal {
		if internal = local; len(all) > 0 {
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
		p.reject = append(p.reject, fmt.Sprintf("%s %s -j %s", dst, comment, refuse))
	} else {
		p.services = append(p.services, fmt.Sprintf("%s %s -j %s", dst, comment, svcChain))
		var rules []string
		if p.cfg.ClusterCIDR.IsValid() {
			rules = append(rules, fmt.Sprintf("! -s %s -d %s/32 -j %s", p.cfg.ClusterCIDR, ip, Mark))
		}
		p.chain(svcChain, append(rules, balance(svcChain, proto, internal, affinity)...))
	}
	if proto == "udp" {
		p.udp[UDPPort{IP: ip, Port: uint16(port.Port)}] = addrs(internal)
	}
	if port.NodePort == 0 {
		return
	}

	onlyLocal := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	external, refuse := cluster, "REJECT"
	if onlyLocal {
		if external = local; len(all) > 0 {
			refuse = "DROP"
		}
	}
	if proto == "udp" {
		to := slices.Concat(addrs(cluster), addrs(external))
		slices.SortFunc(to, netip.AddrPort.Compare)
		p.udp[UDPPort{Port: uint16(port.NodePort)}] = slices.Compact(to)
	}
	if len(external) == 0 {
		for _, dst := range p.cfg.nodeAddresses() {
			p.reject = append(p.reject, fmt.Sprintf("%s%s %s -j %s", dst, matchNode, comment, refuse))
		}
	}
	if len(cluster) == 0 {
		return
	}
	p.nodePorts = append(p.nodePorts, fmt.Sprintf("%s %s -j %s", matchNode, comment, extChain))
	// Where the whole cluster's endpoints are spread.
	allChain := svcChain
	if internalLocal {
		allChain = allPrefix + id
		p.chain(allChain, balance(allChain, proto, cluster, affinity))
	}
	if !onlyLocal {
		p.chain(extChain, []string{"-j " + Mark, "-j " + allChain})
		return
	}
	// The policy is for clients outside of the cluster, whose address is kept:
	// the endpoint is on this node, so the answers come back here anyway. The
	// cluster's pods and this node reach all endpoints, as by the cluster IP;
	// this node by another source, because it may be 127.0.0.1.
	var rules []string
	if p.cfg.ClusterCIDR.IsValid() {
		rules = append(rules, fmt.Sprintf("-s %s -j %s", p.cfg.ClusterCIDR, allChain))
	}
	rules = append(rules, "-m addrtype --src-type LOCAL -j "+Mark, "-m addrtype --src-type LOCAL -j "+allChain)
	p.chain(extChain, append(rules, balance(extChain, proto, external, affinity)...))
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

// What the names of the chains of single services begin with: one for the
// cluster IP, one for the node port, and one for all endpoints where that of the
// cluster IP has only this node's.
const (
	svcPrefix = Prefix + "SVC-"
	extPrefix = Prefix + "EXT-"
	allPrefix = Prefix + "ALL-"
)

// IsServiceChain reports whether a chain belongs to a single service, not to
// all of them.
func IsServiceChain(name string) bool {
	return strings.HasPrefix(name, svcPrefix) || strings.HasPrefix(name, extPrefix) || strings.HasPrefix(name, allPrefix)
}

// hash makes a short name that is the same on every node.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}
