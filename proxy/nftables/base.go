package nftables

import (
	"fmt"
	"strings"

	"sigs.k8s.io/knftables"

	"headway.dev/proxy/service"
)

// tableName is the name of our table, of the family inet.
const tableName = "headway-proxy"

// mark is the bit of the packet mark that asks for masquerading.
const mark = "0x200000"

const markIt = "meta mark set meta mark or " + mark

// The chains that Services lead to.
const (
	servicesChain = "services"
	refuseChain   = "refuse"
	rejectChain   = "rejected"
)

// The maps; each family has its own, named with its number.
const (
	servicesMap      = "services"
	nodePortsMap     = "nodeports"
	endpointsMap     = "endpoints"
	nodeEndpointsMap = "node-endpoints"
	refusedMap       = "refused"
	refusedNodesMap  = "refused-nodeports"
	hairpinSet       = "hairpin"
)

// of names a map of one family.
func of(name string, f service.Family) string { return fmt.Sprintf("%s-%d", name, f) }

// ip is how rules name the protocol of a family.
func ip(f service.Family) string {
	if f == service.IPv6 {
		return "ip6"
	}
	return "ip"
}

// hook is where a chain begins.
type hook struct {
	kind     knftables.BaseChainType
	hook     knftables.BaseChainHook
	priority knftables.BaseChainPriority
}

var hooks = map[string]hook{
	"prerouting":     {knftables.NATType, knftables.PreroutingHook, knftables.DNATPriority},
	"output":         {knftables.NATType, knftables.OutputHook, knftables.DNATPriority},
	"postrouting":    {knftables.NATType, knftables.PostroutingHook, knftables.SNATPriority},
	"in-filter":      {knftables.FilterType, knftables.InputHook, knftables.FilterPriority},
	"forward-filter": {knftables.FilterType, knftables.ForwardHook, knftables.FilterPriority},
	"out-filter":     {knftables.FilterType, knftables.OutputHook, knftables.FilterPriority},
}

// baseChains are the chains that exist independently of Services.
func baseChains(cfg service.Config) map[string][]string {
	var services, refuse, post, forward []string
	for _, f := range cfg.Families() {
		to := fmt.Sprintf("%s daddr . meta l4proto . th dport vmap @", ip(f))
		services = append(services, to+of(servicesMap, f))
		refuse = append(refuse, to+of(refusedMap, f))
		if local := localAddress(cfg, f); local != "" {
			services = append(services, local+" meta l4proto . th dport vmap @"+of(nodePortsMap, f))
			refuse = append(refuse, local+" meta l4proto . th dport vmap @"+of(refusedNodesMap, f))
		}
		post = append(post, fmt.Sprintf("%s saddr . %s daddr @%s masquerade", ip(f), ip(f), of(hairpinSet, f)))
		for _, pods := range cfg.PodRanges(f) {
			// The kernel translates nothing that it cannot place in a connection, such as
			// a segment out of its window. The client would get it from an address that
			// it never spoke to, and its reset would end the connection.
			forward = append(forward, fmt.Sprintf("%s saddr %s ct state invalid drop", ip(f), pods))
		}
	}
	post = append(post,
		"meta mark and "+mark+" != "+mark+" return",
		// A tunnel copies the mark to the packet that carries this one.
		"meta mark set meta mark xor "+mark,
		"masquerade fully-random")
	const refuseNew = "ct state new jump " + refuseChain
	// CVE-2020-8558: route_localnet lets neighbours send to 127.0.0.0/8.
	const firewall = "ip saddr != 127.0.0.0/8 ip daddr 127.0.0.0/8 ct state != { established, related } ct status and dnat != dnat drop"
	return map[string][]string{
		"prerouting": {"jump " + servicesChain}, "output": {"jump " + servicesChain}, "postrouting": post,
		"in-filter": {firewall, refuseNew}, "forward-filter": append(forward, refuseNew), "out-filter": {firewall, refuseNew},
		servicesChain: services, refuseChain: refuse, rejectChain: {"reject"},
	}
}

// localAddress matches an address of this node that serves node ports; it is
// empty if there is none of the family.
func localAddress(cfg service.Config, f service.Family) string {
	ranges, all := cfg.NodeRanges(f)
	switch {
	case all && f == service.IPv6:
		// The kernel sends nothing from ::1 to another machine.
		return "ip6 daddr != ::1 fib daddr type local"
	case all:
		return "meta nfproto ipv4 fib daddr type local"
	case len(ranges) == 0:
		return ""
	}
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	return fmt.Sprintf("%s daddr { %s } fib daddr type local", ip(f), strings.Join(texts, ", "))
}

// addMaps adds the maps of all families.
func addMaps(cfg service.Config, tx *knftables.Transaction) {
	for _, f := range cfg.Families() {
		address := fmt.Sprintf("ipv%d_addr", f)
		for name, kind := range map[string]string{
			servicesMap: address + " . inet_proto . inet_service : verdict", nodePortsMap: "inet_proto . inet_service : verdict",
			refusedMap: address + " . inet_proto . inet_service : verdict", refusedNodesMap: "inet_proto . inet_service : verdict",
		} {
			tx.Add(&knftables.Map{Name: of(name, f), Type: kind})
		}
		// The last of the key is the endpoint's number, see pick.
		to := " : " + address + " . inet_service"
		tx.Add(&knftables.Map{Name: of(endpointsMap, f), Type: address + " . inet_proto . inet_service . classid" + to})
		tx.Add(&knftables.Map{Name: of(nodeEndpointsMap, f), Type: "inet_proto . inet_service . classid" + to})
		tx.Add(&knftables.Set{Name: of(hairpinSet, f), Type: address + " . " + address})
	}
}

// mapNames are the maps and sets of all families.
func mapNames(cfg service.Config) (maps, sets []string) {
	for _, f := range cfg.Families() {
		for _, name := range []string{servicesMap, nodePortsMap, endpointsMap, nodeEndpointsMap, refusedMap, refusedNodesMap} {
			maps = append(maps, of(name, f))
		}
		sets = append(sets, of(hairpinSet, f))
	}
	return maps, sets
}
