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

// front is what a Service is reached at; the address of a node port is unspecified.
type front struct {
	protocol uint8
	addr     netip.AddrPort
}

// fronts are where the ports of one Service lead to.
type fronts map[front][]netip.AddrPort

// Flows remembers where the ports of Services lead to, because the kernel looks at
// the rules only for the first packet of a flow. So two sorts of flows go wrong:
//
//   - Datagrams go on to an endpoint that is gone, for as long as their client keeps
//     sending. (A TCP connection ends with its endpoint, and is left alone.)
//   - What was sent to a Service's address before its rules were there went nowhere,
//     and so will the client's further tries from the same port, for two minutes.
type Flows struct {
	log *slog.Logger
	// own are addresses of this node.
	own   []netip.Addr
	known map[types.NamespacedName]fronts
	// stale is what flows of the kernel may be wrong about.
	stale map[service.Family]*staleFlows
}

// NewFlows knows nothing yet: the first changes are about flows that a former
// process left. Connections to programs of the node itself, at its own addresses, are
// left alone.
func NewFlows(log *slog.Logger, own []netip.Addr) *Flows {
	return &Flows{log: log, own: own, known: map[types.NamespacedName]fronts{}, stale: map[service.Family]*staleFlows{}}
}

// Note takes note of what changed. Nothing is forgotten before Forget: as long as
// the rules are those of before, flows that are forgotten lead where they did.
func (f *Flows) Note(changes service.Changes) {
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
}

// Forget deletes the UDP flows that lead where nothing serves for the Services any
// more, and all flows that came before the rules. What could not be deleted is tried
// again with the next call.
func (f *Flows) Forget() error {
	var errs []error
	for family, stale := range f.stale {
		n, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(netlinkFamily(family)), stale)
		if err != nil {
			errs = append(errs, fmt.Errorf("forget %s flows of changed services: %w", family, err))
			continue
		}
		delete(f.stale, family)
		if n > 0 {
			f.log.Debug("forgot flows that lead to no endpoint", "family", family, "flows", n)
		}
	}
	return errors.Join(errs...)
}

func (f *Flows) change(name types.NamespacedName, d *service.Decision) {
	old, next := f.known[name], frontsOf(d)
	for at := range old {
		if _, ok := next[at]; !ok && at.protocol == unix.IPPROTO_UDP {
			f.staleOf(at).udp[at.addr] = nil
		}
	}
	for at, to := range next {
		before, known := old[at]
		// At the node's own address somebody has answered, if it was only to refuse: no
		// try hangs there, but what is open, such as SSH, would be cut.
		if !known && !slices.Contains(f.own, at.addr.Addr()) {
			f.staleOf(at).early[at] = true
		}
		if at.protocol == unix.IPPROTO_UDP && (!known || !slices.Equal(before, to)) {
			f.staleOf(at).udp[at.addr] = to
		}
	}
	if len(next) > 0 {
		f.known[name] = next
	} else {
		delete(f.known, name)
	}
}

func (f *Flows) staleOf(at front) *staleFlows {
	family := service.FamilyOf(at.addr.Addr())
	if f.stale[family] == nil {
		f.stale[family] = &staleFlows{udp: map[netip.AddrPort][]netip.AddrPort{}, early: map[front]bool{}}
	}
	return f.stale[family]
}

var protocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

func frontsOf(d *service.Decision) fronts {
	if d == nil {
		return nil
	}
	out := fronts{}
	for _, p := range d.Ports {
		at := func(ip netip.Addr, port uint16) front {
			return front{protocols[p.Protocol], netip.AddrPortFrom(ip, port)}
		}
		// New flows may go to fewer: to those that are ready, or on this node. An
		// endpoint that terminates finishes what it has.
		for _, ip := range slices.Concat([]netip.Addr{p.ClusterIP}, p.ExternalIPs, p.LoadBalancerIPs) {
			out[at(ip, p.Number)] = p.Serving
		}
		if p.NodePort != 0 {
			out[at(unspecified(p.Family), p.NodePort)] = p.Serving
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

// staleFlows matches flows that lead wrong.
type staleFlows struct {
	// udp has the ports of which flows may lead elsewhere than to these endpoints.
	udp map[netip.AddrPort][]netip.AddrPort
	// early are those that have just got rules.
	early map[front]bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s *staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to, ok := netip.AddrFromSlice(flow.Forward.DstIP)
	if !ok {
		return false
	}
	from, ok := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok {
		return false
	}
	to, from = to.Unmap(), from.Unmap()
	at, target := netip.AddrPortFrom(to, flow.Forward.DstPort), netip.AddrPortFrom(from, flow.Reverse.SrcPort)
	if at == target && s.early[front{flow.Forward.Protocol, at}] {
		return true
	}
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	if eps, ok := s.udp[at]; ok {
		return !slices.Contains(eps, target)
	}
	// Of the flows to that port number only those that were translated are a
	// node port's; others are to a server of that port on some machine.
	eps, ok := s.udp[netip.AddrPortFrom(unspecified(service.FamilyOf(to)), flow.Forward.DstPort)]
	return ok && from != to && !slices.Contains(eps, target)
}
