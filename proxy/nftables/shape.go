package nftables

import (
	"fmt"

	"headway.dev/proxy/service"
)

// clusterOffset is what the numbers begin with of the endpoints for the
// cluster's own pods, where those for others are not the same.
const clusterOffset = 1 << 16

// kind is what a chain that many Services share does with a connection.
type kind string

const (
	// internal serves a cluster IP.
	internal kind = "internal"
	// external serves an external address, and masquerades.
	external kind = "external"
	// local serves an external address by endpoints of this node, but who is of
	// the cluster by all.
	local kind = "local"
	// cluster serves who is of the cluster for local.
	cluster kind = "cluster"
)

// shape is all that distinguishes the chains that many Services share. There is
// a chain for each that some Service needs.
type shape struct {
	family service.Family
	kind   kind
	// node is set for node ports, whose address says nothing.
	node bool
	// n is the number of endpoints, and all that of the cluster's if others are
	// local.
	n, all int
}

func (s shape) name() string {
	name := fmt.Sprintf("%s-%d-%d", s.kind, s.family, s.n)
	if s.kind == local {
		name += fmt.Sprintf("-%d", s.all)
	}
	if s.node {
		name += "-node"
	}
	return name
}

// needs is another shape that the chain leads to.
func (s shape) needs() (shape, bool) {
	return shape{family: s.family, kind: cluster, node: s.node, n: s.all}, s.kind == local
}

func (s shape) rules(cfg service.Config) []string {
	var rules []string
	switch s.kind {
	case internal:
		rules = append(masqueradeStrangers(cfg, s.family), s.pick("")...)
	case external:
		rules = append([]string{markIt}, s.pick("")...)
	case cluster:
		rules = s.pick(fmt.Sprintf(" offset %d", clusterOffset))
	case local:
		next, _ := s.needs()
		rules = fromCluster(cfg, s.family, next.name())
		if s.n > 0 {
			rules = append(rules, s.pick("")...)
		}
	}
	// The endpoints changed between two looks of one packet; or there are none on
	// this node, but others do serve it. A client tries again.
	return append(rules, "drop")
}

// pick leads to one of the endpoints by a random number. A number can be looked
// up only if it has a type, which that of numgen has only in maps by typeof, and
// nft 1.0 cannot read those back if they have ports. So it passes through the
// packet's priority, which nothing looks at before the kernel sets it anew for
// what it forwards; only the first packet of a connection comes here.
func (s shape) pick(offset string) []string {
	by, from := ip(s.family)+" daddr . meta l4proto . th dport", endpointsMap
	if s.node {
		by, from = "meta l4proto . th dport", nodeEndpointsMap
	}
	return []string{
		fmt.Sprintf("meta priority set numgen random mod %d%s", s.n, offset),
		fmt.Sprintf("dnat %s to %s . meta priority map @%s", ip(s.family), by, of(from, s.family)),
	}
}

// number writes an endpoint's number as nft reads priorities.
func number(n int) string { return fmt.Sprintf("%x:%x", n>>16, n&0xffff) }

// masqueradeStrangers masquerades who connects to a cluster IP from elsewhere.
func masqueradeStrangers(cfg service.Config, f service.Family) []string {
	var rules []string
	for _, pods := range cfg.PodRanges(f) {
		rules = append(rules, fmt.Sprintf("%s saddr != %s %s", ip(f), pods, markIt))
	}
	return rules
}

// fromCluster leads the cluster's pods and this node to a chain, the node by
// another source, because it may be 127.0.0.1.
func fromCluster(cfg service.Config, f service.Family, chain string) []string {
	var rules []string
	for _, pods := range cfg.PodRanges(f) {
		rules = append(rules, fmt.Sprintf("%s saddr %s goto %s", ip(f), pods, chain))
	}
	return append(rules, "fib saddr type local "+markIt+" goto "+chain)
}
