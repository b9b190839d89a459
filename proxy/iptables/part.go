package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"headway.dev/proxy/service"
)

// part is what one Service adds to the rules of one family.
type part struct {
	of     *service.Decision
	chains []Chain // of its own
	// Rules of the chains that all share.
	services, externals, nodePorts, reject []string
	hairpin                                []netip.Addr
}

// shared reports whether both add the same to the chains that all share.
func (p *part) shared(o *part) bool {
	return slices.Equal(p.services, o.services) && slices.Equal(p.externals, o.externals) && slices.Equal(p.nodePorts, o.nodePorts) &&
		slices.Equal(p.reject, o.reject) && slices.Equal(p.hairpin, o.hairpin)
}

// render writes what one Service adds to the rules of one family.
func render(cfg service.Config, family service.Family, d *service.Decision) *part {
	p := &part{of: d}
	for i := range d.Ports {
		if d.Ports[i].Family == family {
			p.port(cfg, &d.Ports[i])
		}
	}
	return p
}

func (p *part) chain(name string, rules []string) {
	p.chains = append(p.chains, Chain{Table: "nat", Name: name, Rules: rules})
}

func (p *part) port(cfg service.Config, port *service.Port) {
	svcChain, extChain := svcPrefix+port.ID, extPrefix+port.ID
	match := func(number uint16) string {
		return fmt.Sprintf("-p %s -m %s --dport %d -m comment --comment %q", port.Protocol, port.Protocol, number, port.Name)
	}
	to := func(ip netip.Addr) string {
		return fmt.Sprintf("-d %s/%d %s", ip, port.Family.Bits(), match(port.Number))
	}
	p.hairpin = append(p.hairpin, port.Hairpin...)

	if len(port.Internal.Endpoints) == 0 {
		p.reject = append(p.reject, to(port.ClusterIP)+refuse(port.Internal))
	} else {
		p.services = append(p.services, to(port.ClusterIP)+" -j "+svcChain)
		var rules []string
		for _, pods := range cfg.PodRanges(port.Family) {
			rules = append(rules, fmt.Sprintf("! -s %s -d %s/%d -j %s", pods, port.ClusterIP, port.Family.Bits(), Mark))
		}
		p.chain(svcChain, append(rules, balance(port, port.Internal)...))
	}
	if !port.HasExternal() {
		return
	}
	p.refuseExternal(cfg, port, to, match(port.NodePort))
	if len(port.Cluster.Endpoints) == 0 {
		return
	}
	p.leadExternal(port, to, match(port.NodePort), extChain)
	// Where the whole cluster's endpoints are spread.
	allChain := svcChain
	if !port.InternalIsCluster() {
		allChain = allPrefix + port.ID
		p.chain(allChain, balance(port, port.Cluster))
	}
	if !port.ExternalLocal {
		p.chain(extChain, []string{"-j " + Mark, "-j " + allChain})
		return
	}
	// The policy is for clients outside of the cluster, whose address is kept:
	// the endpoint is on this node, so the answers come back here anyway. The
	// cluster's pods and this node reach all endpoints, as by the cluster IP;
	// this node by another source, because it may be 127.0.0.1.
	var rules []string
	for _, pods := range cfg.PodRanges(port.Family) {
		rules = append(rules, fmt.Sprintf("-s %s -j %s", pods, allChain))
	}
	rules = append(rules, "-m addrtype --src-type LOCAL -j "+Mark, "-m addrtype --src-type LOCAL -j "+allChain)
	p.chain(extChain, append(rules, balance(port, port.External)...))
}

// leadExternal leads the external addresses to extChain.
func (p *part) leadExternal(port *service.Port, to func(netip.Addr) string, node, extChain string) {
	for _, ip := range port.ExternalIPs {
		p.externals = append(p.externals, to(ip)+" -j "+extChain)
	}
	for _, ip := range port.LoadBalancerIPs {
		if !port.Restricted {
			p.externals = append(p.externals, to(ip)+" -j "+extChain)
			continue
		}
		for _, source := range port.SourceRanges {
			p.externals = append(p.externals, fmt.Sprintf("-s %s %s -j %s", source, to(ip), extChain))
		}
	}
	if port.NodePort != 0 {
		p.nodePorts = append(p.nodePorts, node+" -j "+extChain)
	}
}

// refuseExternal refuses what is led nowhere: where there is no endpoint, and
// whom a load balancer does not serve. They never meet who was led somewhere,
// whose destination is another one then.
func (p *part) refuseExternal(cfg service.Config, port *service.Port, to func(netip.Addr) string, node string) {
	none := len(port.External.Endpoints) == 0
	if none {
		for _, ip := range port.ExternalIPs {
			p.reject = append(p.reject, to(ip)+refuse(port.External))
		}
		for _, dst := range nodeAddresses(cfg, port.Family) {
			if port.NodePort != 0 {
				p.reject = append(p.reject, dst+node+refuse(port.External))
			}
		}
	}
	for _, ip := range port.LoadBalancerIPs {
		switch {
		case port.Restricted:
			for _, source := range port.SourceRanges {
				if none {
					p.reject = append(p.reject, fmt.Sprintf("-s %s %s%s", source, to(ip), refuse(port.External)))
				}
			}
			p.reject = append(p.reject, to(ip)+" -j DROP")
		case none:
			p.reject = append(p.reject, to(ip)+refuse(port.External))
		}
	}
}

func refuse(t service.Target) string {
	if t.Otherwise == service.Drop {
		return " -j DROP"
	}
	return " -j REJECT"
}

// balance spreads new connections evenly: the first of n endpoints takes one
// of n, the next one of n-1 of the rest, the last what is left.
func balance(port *service.Port, target service.Target) []string {
	var stick, spread []string
	for i, e := range target.Endpoints {
		to := fmt.Sprintf("-p %s -j DNAT --to-destination %s", port.Protocol, e)
		chance := ""
		if left := len(target.Endpoints) - i; left > 1 {
			chance = fmt.Sprintf("-m statistic --mode random --probability %.10f ", 1/float64(left))
		}
		if port.Affinity > 0 {
			list := "HEADWAY-EP-" + service.Hash(port.ID, e.String())
			stick = append(stick, fmt.Sprintf("-m recent --name %s --update --seconds %d --reap --rsource %s", list, port.Affinity/time.Second, to))
			// The chance comes first: --set remembers whoever gets to it.
			chance += fmt.Sprintf("-m recent --name %s --set --rsource ", list)
		}
		spread = append(spread, chance+to)
	}
	return append(stick, spread...)
}
