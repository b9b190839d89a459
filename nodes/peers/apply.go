package peers

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	pods "headway.dev/nodes/network"
)

// The tunnel, which all nodes of a cluster have alike.
const (
	// network is its VXLAN identifier, port the UDP port that it is registered for.
	network, port = 4872, pods.VXLANPort
	// overhead is what it adds to each packet: Ethernet, IPv4, UDP and VXLAN.
	overhead = 14 + 20 + 8 + 8
	// origin marks our routes, so that nobody else's are removed.
	origin = netlink.RouteProtocol(72)
)

// near reports whether an address is on a link of this machine: no router is between. A link
// that leads to one other end, or whose machines do not answer for their addresses (tunnels,
// WireGuard, PPP), may have routers behind it although no route names one.
func near(ip netip.Addr) (bool, error) {
	routes, err := netlink.RouteGet(ip.AsSlice())
	if err != nil || len(routes) == 0 {
		return false, errors.Join(err, fmt.Errorf("there is no route to %s", ip))
	}
	if len(routes[0].Gw) > 0 {
		return false, nil
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return false, fmt.Errorf("find the link to %s: %w", ip, err)
	}
	flags := link.Attrs().RawFlags
	return flags&unix.IFF_BROADCAST != 0 && flags&unix.IFF_NOARP == 0, nil
}

// apply makes the kernel's routes those that are wanted.
func (p *Peers) apply(wanted []route) error {
	var tunnel netlink.Link
	var errs []error
	tunnelled := slices.ContainsFunc(wanted, func(r route) bool { return r.tunnel })
	if tunnelled {
		var err error
		if tunnel, err = p.ensureTunnel(); err != nil {
			errs = append(errs, err)
		}
	}
	have, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: origin}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list the routes to other nodes: %w", err)
	}
	have6, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Protocol: origin}, netlink.RT_FILTER_PROTOCOL)
	if err != nil && p.own6.IsValid() {
		return fmt.Errorf("list the routes of IPv6 to other nodes: %w", err)
	}
	have = append(have, have6...)
	keep := map[string]bool{}
	for _, r := range wanted {
		keep[r.pods.String()] = true
		if r.tunnel && tunnel == nil {
			continue // what is there may work
		}
		errs = append(errs, ensureRoute(r, tunnel, have))
	}
	for _, h := range have {
		if h.Dst == nil || keep[h.Dst.String()] {
			continue
		}
		if err := netlink.RouteDel(&h); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove the route to %s: %w", h.Dst, err))
		}
	}
	if tunnel != nil {
		errs = append(errs, ensureNeighbours(tunnel, wanted))
	} else if old, err := netlink.LinkByName(p.cfg.Tunnel); err == nil && !tunnelled {
		errs = append(errs, netlink.LinkDel(old))
	}
	return errors.Join(errs...)
}

// ensureRoute makes one route what it should be, in one step: there is no moment without.
func ensureRoute(r route, tunnel netlink.Link, have []netlink.Route) error {
	want := netlink.Route{Dst: ipNet(r.pods), Gw: r.via.AsSlice(), Protocol: origin}
	if r.tunnel {
		want.LinkIndex, want.Flags = tunnel.Attrs().Index, int(netlink.FLAG_ONLINK)
	} else {
		out, err := netlink.RouteGet(r.via.AsSlice())
		if err != nil || len(out) == 0 {
			return fmt.Errorf("find the link to %s: %w", r.via, err)
		}
		want.LinkIndex = out[0].LinkIndex
	}
	for _, h := range have {
		if h.Dst != nil && h.Dst.String() == want.Dst.String() && h.Gw.Equal(want.Gw) && h.LinkIndex == want.LinkIndex {
			return nil
		}
	}
	if err := netlink.RouteReplace(&want); err != nil {
		return fmt.Errorf("route %s to %s: %w", r.pods, r.via, err)
	}
	return nil
}

// ensureTunnel makes the tunnel's link, or brings the one there is into its state.
func (p *Peers) ensureTunnel() (netlink.Link, error) {
	mtu, err := mtuOf(p.cfg.IP)
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = p.cfg.Tunnel, mtu-overhead, mac(p.cfg.IP)
	want := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: network, SrcAddr: p.cfg.IP.AsSlice(), Port: port, Learning: false, GBP: false}
	link, err := netlink.LinkByName(p.cfg.Tunnel)
	if err == nil && !sameTunnel(link, want) {
		if err := netlink.LinkDel(link); err != nil {
			return nil, fmt.Errorf("remove the former tunnel: %w", err)
		}
		err = netlink.LinkNotFoundError{}
	}
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		if err := netlink.LinkAdd(want); err != nil {
			return nil, fmt.Errorf("make the tunnel to other nodes (is the kernel module vxlan there?): %w", err)
		}
		link, err = netlink.LinkByName(p.cfg.Tunnel)
	}
	if err != nil {
		return nil, fmt.Errorf("find the tunnel to other nodes: %w", err)
	}
	if err := setAddress(link, inner(p.own)); err != nil {
		return nil, fmt.Errorf("give the tunnel its address: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set the tunnel up: %w", err)
	}
	return link, nil
}

// setAddress gives a link an address, and takes others away: one of a former range may be
// another node's now.
func setAddress(link netlink.Link, ip netip.Addr) error {
	have, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range have {
		if a.IP.Equal(ip.AsSlice()) {
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return err
		}
	}
	return netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}})
}

// mtuOf is the MTU of the link that has an address of this node.
func mtuOf(ip netip.Addr) (int, error) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, fmt.Errorf("find the link of the node's address %s: %w", ip, err)
	}
	for _, a := range addrs {
		if !a.IP.Equal(ip.AsSlice()) {
			continue
		}
		link, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("find the link of the node's address %s: %w", ip, err)
		}
		return link.Attrs().MTU, nil
	}
	return 0, fmt.Errorf("no link has the node's address %s: give the right one with --node-ip", ip)
}

func sameTunnel(link netlink.Link, want *netlink.Vxlan) bool {
	have, ok := link.(*netlink.Vxlan)
	return ok && have.VxlanId == want.VxlanId && have.Port == want.Port && have.SrcAddr.Equal(want.SrcAddr) &&
		have.MTU == want.MTU && bytes.Equal(have.HardwareAddr, want.HardwareAddr)
}

// ensureNeighbours tells the tunnel where each peer is, which it does not learn from
// packets: who sends some cannot lead others astray.
func ensureNeighbours(tunnel netlink.Link, routes []route) error {
	index := tunnel.Attrs().Index
	wanted := map[string]*netlink.Neigh{}
	for _, r := range routes {
		if !r.tunnel {
			continue
		}
		at := mac(r.outer)
		wanted["arp "+r.via.String()] = &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: r.via.AsSlice(), HardwareAddr: at}
		wanted["fdb "+at.String()] = &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, IP: r.outer.AsSlice(), HardwareAddr: at}
	}
	var errs []error
	for what, n := range wanted {
		if err := netlink.NeighSet(n); err != nil {
			errs = append(errs, fmt.Errorf("tell the tunnel where %s is: %w", what, err))
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6, unix.AF_BRIDGE} {
		have, err := netlink.NeighList(index, family)
		if err != nil {
			errs = append(errs, fmt.Errorf("list the neighbours in the tunnel: %w", err))
			continue
		}
		for _, n := range have {
			key := "arp " + n.IP.String()
			if family == unix.AF_BRIDGE {
				key = "fdb " + n.HardwareAddr.String()
			}
			if wanted[key] == nil && n.State&netlink.NUD_PERMANENT != 0 {
				errs = append(errs, netlink.NeighDel(&n))
			}
		}
	}
	return errors.Join(errs...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Cleanup removes all routes to other nodes, and the tunnel.
func Cleanup(tunnel string) error {
	p := &Peers{cfg: Config{Tunnel: tunnel}}
	return p.apply(nil)
}
