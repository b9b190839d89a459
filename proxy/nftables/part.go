package nftables

import (
	"fmt"
	"net/netip"
	"time"

	"headway.dev/proxy/service"
)

// element is one of a map or, with an empty value, of a set.
type element struct{ of, key string }

// part is what one Service adds to the table.
type part struct {
	elements map[element]string
	shapes   []shape
	// chains are of the Service alone, by their names.
	chains map[string][]string
	// clients are the sets that remember which clients an endpoint has, and for
	// how long.
	clients map[string]clients
	hairpin []netip.Addr
}

type clients struct {
	family  service.Family
	timeout time.Duration
}

func render(cfg service.Config, d *service.Decision) *part {
	p := &part{elements: map[element]string{}, chains: map[string][]string{}, clients: map[string]clients{}}
	if d == nil {
		return p
	}
	for i := range d.Ports {
		p.port(cfg, &d.Ports[i])
	}
	return p
}

func (p *part) port(cfg service.Config, port *service.Port) {
	p.hairpin = append(p.hairpin, port.Hairpin...)
	key := func(ip netip.Addr) string { return fmt.Sprintf("%s . %s . %d", ip, port.Protocol, port.Number) }
	switch {
	case len(port.Internal.Endpoints) > 0:
		p.address(key(port.ClusterIP), port, p.internal(cfg, port), false)
	default:
		p.refuse(of(refusedMap, port.Family), key(port.ClusterIP), port.Internal)
	}
	if !port.HasExternal() {
		return
	}
	node := fmt.Sprintf("%s . %d", port.Protocol, port.NodePort)
	if len(port.Cluster.Endpoints) == 0 {
		for _, ip := range port.ExternalIPs {
			p.refuse(of(refusedMap, port.Family), key(ip), port.External)
		}
		for _, ip := range port.LoadBalancerIPs {
			p.refuse(of(refusedMap, port.Family), key(ip), port.External)
			if port.Restricted {
				p.elements[element{of(servicesMap, port.Family), key(ip)}] = "goto " + p.sources(port, "return")
			}
		}
		if port.NodePort != 0 {
			p.refuse(of(refusedNodesMap, port.Family), node, port.External)
		}
		return
	}
	for _, ip := range port.ExternalIPs {
		p.address(key(ip), port, p.external(cfg, port, false), true)
	}
	for _, ip := range port.LoadBalancerIPs {
		chain := p.external(cfg, port, false)
		if port.Restricted {
			chain = p.sources(port, "goto "+chain)
		}
		p.address(key(ip), port, chain, true)
	}
	if port.NodePort != 0 {
		p.elements[element{of(nodePortsMap, port.Family), node}] = "goto " + p.external(cfg, port, true)
		p.endpoints(of(nodeEndpointsMap, port.Family), node, port, true)
	}
}

// address leads an address to a chain, which finds the endpoints by it.
func (p *part) address(key string, port *service.Port, chain string, isExternal bool) {
	p.elements[element{of(servicesMap, port.Family), key}] = "goto " + chain
	p.endpoints(of(endpointsMap, port.Family), key, port, isExternal)
}

// endpoints adds the endpoints that the chains of shapes look for.
func (p *part) endpoints(to, key string, port *service.Port, isExternal bool) {
	if port.Affinity > 0 {
		return // its own chains name them
	}
	add := func(first int, endpoints []netip.AddrPort) {
		for i, e := range endpoints {
			p.elements[element{to, key + " . " + number(first+i)}] = fmt.Sprintf("%s . %d", e.Addr(), e.Port())
		}
	}
	switch {
	case !isExternal:
		add(0, port.Internal.Endpoints)
	case port.ExternalLocal:
		add(0, port.External.Endpoints)
		add(clusterOffset, port.Cluster.Endpoints)
	default:
		add(0, port.Cluster.Endpoints)
	}
}

// refuse refuses what no rule leads anywhere.
func (p *part) refuse(in, key string, t service.Target) {
	verdict := "goto " + rejectChain
	if t.Otherwise == service.Drop {
		verdict = "drop"
	}
	p.elements[element{in, key}] = verdict
}

// sources is the chain of a load balancer's addresses that do not serve
// everybody.
func (p *part) sources(port *service.Port, then string) string {
	name := fmt.Sprintf("sources-%d-%s", port.Family, port.ID)
	var rules []string
	for _, source := range port.SourceRanges {
		rules = append(rules, fmt.Sprintf("%s saddr %s %s", ip(port.Family), source, then))
	}
	p.chains[name] = append(rules, "drop")
	return name
}

// internal is the chain for a cluster IP.
func (p *part) internal(cfg service.Config, port *service.Port) string {
	if port.Affinity == 0 {
		return p.shape(shape{family: port.Family, kind: internal, n: len(port.Internal.Endpoints)})
	}
	return p.own(port, internal, append(masqueradeStrangers(cfg, port.Family), p.stick(port, port.Internal)...))
}

// external is the chain for other addresses, of which node ports differ.
func (p *part) external(cfg service.Config, port *service.Port, node bool) string {
	all := len(port.Cluster.Endpoints)
	switch {
	case port.Affinity == 0 && port.ExternalLocal:
		return p.shape(shape{family: port.Family, kind: local, node: node, n: len(port.External.Endpoints), all: all})
	case port.Affinity == 0:
		return p.shape(shape{family: port.Family, kind: external, node: node, n: all})
	case port.ExternalLocal:
		next := p.own(port, cluster, p.stick(port, port.Cluster))
		return p.own(port, local, append(fromCluster(cfg, port.Family, next), p.stick(port, port.External)...))
	}
	return p.own(port, external, append([]string{markIt}, p.stick(port, port.Cluster)...))
}

func (p *part) shape(s shape) string {
	p.shapes = append(p.shapes, s)
	if next, ok := s.needs(); ok {
		p.shapes = append(p.shapes, next)
	}
	return s.name()
}

// own is a chain of the port alone.
func (p *part) own(port *service.Port, k kind, rules []string) string {
	name := fmt.Sprintf("%s-%d-%s", k, port.Family, port.ID)
	p.chains[name] = append(rules, "drop")
	return name
}

// stick leads clients to the endpoint that they have, and others to any.
func (p *part) stick(port *service.Port, t service.Target) []string {
	var known, spread []string
	for i, e := range t.Endpoints {
		// A set keeps the timeout that it was made with.
		hash := service.Hash(port.ID, e.String(), port.Affinity.String())
		set, chain := fmt.Sprintf("clients-%d-%s", port.Family, hash), fmt.Sprintf("endpoint-%d-%s", port.Family, hash)
		p.clients[set] = clients{port.Family, port.Affinity}
		// These are two rules, because a rule ends where a set is full: that client is
		// served without being remembered.
		p.chains[chain] = []string{
			fmt.Sprintf("update @%s { %s saddr }", set, ip(port.Family)),
			fmt.Sprintf("meta l4proto %s dnat %s to %s", port.Protocol, ip(port.Family), e),
		}
		to := "goto " + chain
		known = append(known, fmt.Sprintf("%s saddr @%s %s", ip(port.Family), set, to))
		if left := len(t.Endpoints) - i; left > 1 {
			to = fmt.Sprintf("numgen random mod %d 0 %s", left, to)
		}
		spread = append(spread, to)
	}
	return append(known, spread...)
}
