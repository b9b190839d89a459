package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy/service"
)

// udpPort is an address of a UDP service, unspecified for a node port.
type udpPort = netip.AddrPort

// frontends are where the UDP ports of one Service lead to.
type frontends map[udpPort][]netip.AddrPort

// Flows remembers where the UDP ports of Services lead to. The kernel keeps
// sending the datagrams of a known flow to an endpoint that is gone, for as long
// as the client keeps sending; a TCP connection ends with its endpoint, and is
// left alone: an endpoint that terminates finishes its requests.
type Flows struct {
	log   *slog.Logger
	known map[types.NamespacedName]frontends
	// stale are the ports that lead elsewhere than flows of the kernel may.
	stale map[service.Family]staleFlows
}

// NewFlows knows nothing yet: the first changes are about flows that a former
// process left.
func NewFlows(log *slog.Logger) *Flows {
	return &Flows{log: log, known: map[types.NamespacedName]frontends{}, stale: map[service.Family]staleFlows{}}
}

// Forget deletes the UDP flows that lead where the changed Services no longer
// do. What could not be deleted is tried again with the next call.
func (f *Flows) Forget(changes service.Changes) error {
	for name, d := range changes.Of {
		f.change(name, d)
	}
	if changes.All {
		for name := range f.known {
			if _, ok := changes.Of[name]; !ok {
				f.change(name, nil)
			}
		}
	}
	var errs []error
	for family, stale := range f.stale {
		n, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(netlinkFamily(family)), stale)
		if err != nil {
			errs = append(errs, fmt.Errorf("forget %s UDP flows of changed services: %w", family, err))
			continue
		}
		delete(f.stale, family)
		if n > 0 {
			f.log.Debug("forgot UDP flows to endpoints that are gone", "family", family, "flows", n)
		}
	}
	return errors.Join(errs...)
}

func (f *Flows) change(name types.NamespacedName, d *service.Decision) {
	old, next := f.known[name], udpFrontends(d)
	mark := func(port udpPort, to []netip.AddrPort) {
		family := service.FamilyOf(port.Addr())
		if f.stale[family] == nil {
			f.stale[family] = staleFlows{}
		}
		f.stale[family][port] = to
	}
	for port := range old {
		if _, ok := next[port]; !ok {
			mark(port, nil)
		}
	}
	for port, to := range next {
		if before, known := old[port]; !known || !slices.Equal(before, to) {
			mark(port, to)
		}
	}
	if len(next) > 0 {
		f.known[name] = next
	} else {
		delete(f.known, name)
	}
}

func udpFrontends(d *service.Decision) frontends {
	if d == nil {
		return nil
	}
	out := frontends{}
	for _, p := range d.Ports {
		if p.Protocol != "udp" {
			continue
		}
		out[netip.AddrPortFrom(p.ClusterIP, p.Number)] = p.Internal.Endpoints
		both := slices.Concat(p.Cluster.Endpoints, p.External.Endpoints)
		slices.SortFunc(both, netip.AddrPort.Compare)
		both = slices.Compact(both)
		for _, ip := range slices.Concat(p.ExternalIPs, p.LoadBalancerIPs) {
			out[netip.AddrPortFrom(ip, p.Number)] = both
		}
		if p.NodePort != 0 {
			out[netip.AddrPortFrom(unspecified(p.Family), p.NodePort)] = both
		}
	}
	return out
}

func unspecified(f service.Family) netip.Addr {
	if f == service.IPv6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// staleFlows matches the flows to the given ports that do not lead to their
// endpoints.
type staleFlows frontends

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
	if eps, ok := s[netip.AddrPortFrom(to, flow.Forward.DstPort)]; ok {
		return !slices.Contains(eps, target)
	}
	// Of the flows to that port number only those that were translated are a
	// node port's; others are to a server of that port on some machine.
	eps, ok := s[netip.AddrPortFrom(unspecified(service.FamilyOf(to)), flow.Forward.DstPort)]
	return ok && from != to && !slices.Contains(eps, target)
}
