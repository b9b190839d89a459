package iptables

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"headway.dev/proxy/rules"
)

type endpoints = []netip.AddrPort

// forgetUDP deletes the UDP flows that lead where the rules no longer do. A
// TCP connection ends with its endpoint; a UDP flow would live on, and its
// datagrams be lost, for as long as the client keeps sending. TCP connections
// are left alone: an endpoint that terminates finishes its requests.
func (t *Table) forgetUDP(want map[rules.UDPPort]endpoints) error {
	stale := staleFlows{}
	for port, eps := range want {
		if old, known := t.udp[port]; !known || !slices.Equal(old, eps) {
			stale[port] = eps
		}
	}
	for port := range t.udp {
		if _, ok := want[port]; !ok {
			stale[port] = nil
		}
	}
	if len(stale) > 0 {
		n, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, stale)
		if err != nil {
			return fmt.Errorf("forget UDP flows of changed services: %w", err)
		}
		if n > 0 {
			t.log.Debug("forgot UDP flows to endpoints that are gone", "flows", n)
		}
	}
	t.udp = want
	return nil
}

// staleFlows matches the flows to the given ports that do not lead to their
// endpoints.
type staleFlows map[rules.UDPPort]endpoints

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok := netip.AddrFromSlice(flow.Forward.DstIP)
	if !ok {
		return false
	}
	from, ok := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok {
		return false
	}
	to, from = to.Unmap(), from.Unmap()
	target := netip.AddrPortFrom(from, flow.Reverse.SrcPort)
	if eps, ok := s[rules.UDPPort{IP: to, Port: flow.Forward.DstPort}]; ok {
		return !slices.Contains(eps, target)
	}
	// Of the flows to that port number only those that were translated are a
	// node port's; others are to a server of that port on some machine.
	eps, ok := s[rules.UDPPort{Port: flow.Forward.DstPort}]
	return ok && from != to && !slices.Contains(eps, target)
}
