package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"headway.dev/proxy/service"
)

// The chains that exist independently of services.
const (
	Services    = "HEADWAY-SERVICES"
	Externals   = "HEADWAY-EXTERNALS"
	NodePorts   = "HEADWAY-NODEPORTS"
	Mark        = "HEADWAY-MARK"
	Postrouting = "HEADWAY-POSTROUTING"
	Reject      = "HEADWAY-REJECT"
	Forward     = "HEADWAY-FORWARD"
	Firewall    = "HEADWAY-FIREWALL"
	// Prefix is the beginning of the names of all our chains.
	Prefix = "HEADWAY-"
)

// What the names of the chains of single services begin with: one for the
// cluster IP, one for external addresses, and one for all endpoints where that
// of the cluster IP has only this node's.
const (
	svcPrefix = Prefix + "SVC-"
	extPrefix = Prefix + "EXT-"
	allPrefix = Prefix + "ALL-"
)

// mark is the bit of the packet mark that asks for masquerading.
const mark = "0x200000/0x200000"

// Chain is one chain and everything in it.
type Chain struct {
	Table string // nat or filter
	Name  string
	Rules []string // as iptables-restore reads them, after "-A NAME "
}

// isServiceChain reports whether a chain belongs to a single service, not to
// all of them.
func isServiceChain(name string) bool {
	return strings.HasPrefix(name, svcPrefix) || strings.HasPrefix(name, extPrefix) || strings.HasPrefix(name, allPrefix)
}

// sharedChains are the chains that exist independently of services, with what
// the parts add to them, in their order.
func sharedChains(cfg service.Config, family service.Family, parts []*part) []Chain {
	var services, externals, nodePorts, reject, post []string
	var hairpin []netip.Addr
	for _, p := range parts {
		services = append(services, p.services...)
		externals = append(externals, p.externals...)
		nodePorts = append(nodePorts, p.nodePorts...)
		reject = append(reject, p.reject...)
		hairpin = append(hairpin, p.hairpin...)
	}
	slices.SortFunc(hairpin, netip.Addr.Compare)
	for _, ip := range slices.Compact(hairpin) {
		post = append(post, fmt.Sprintf("-s %s/%d -d %s/%d -j MASQUERADE", ip, family.Bits(), ip, family.Bits()))
	}
	post = append(post,
		"-m mark ! --mark "+mark+" -j RETURN",
		// A tunnel copies the mark to the packet that carries this one.
		"-j MARK --xor-mark 0x200000",
		"-j MASQUERADE --random-fully")
	var firewall []string
	if family == service.IPv4 {
		// CVE-2020-8558: route_localnet lets neighbours send to 127.0.0.0/8.
		firewall = []string{"! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"}
	}
	var forward []string
	for _, pods := range cfg.PodRanges(family) {
		// The kernel translates nothing that it cannot place in a connection, such as a
		// segment out of its window. The client would get it from an address that it
		// never spoke to, and its reset would end the connection.
		forward = append(forward, fmt.Sprintf("-s %s -m conntrack --ctstate INVALID -j DROP", pods))
	}
	return []Chain{
		{"nat", Services, services},
		{"nat", Externals, externals},
		{"nat", NodePorts, nodePorts},
		{"nat", Mark, []string{"-j MARK --or-mark 0x200000"}},
		{"nat", Postrouting, post},
		{"filter", Reject, reject},
		{"filter", Forward, append(forward,
			"-m mark --mark "+mark+" -j ACCEPT",
			"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")},
		{"filter", Firewall, firewall},
	}
}

// nodeAddresses are the matches for "an address of this node that serves node
// ports".
func nodeAddresses(cfg service.Config, family service.Family) []string {
	ranges, all := cfg.NodeRanges(family)
	switch {
	case all && family == service.IPv6:
		// The kernel sends nothing from ::1 to another machine.
		return []string{"! -d ::1/128 -m addrtype --dst-type LOCAL "}
	case all:
		return []string{"-m addrtype --dst-type LOCAL "}
	}
	var out []string
	for _, r := range ranges {
		out = append(out, fmt.Sprintf("-d %s -m addrtype --dst-type LOCAL ", r))
	}
	return out
}
