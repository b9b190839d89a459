package peers

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// peer is another node.
type peer struct {
	name string
	// ip is its address, pods the range of its pods'.
	ip   netip.Addr
	pods netip.Prefix
	// ip6 and pods6 are those of IPv6, not valid without.
	ip6   netip.Addr
	pods6 netip.Prefix
	// since is when its Node was made.
	since time.Time
}

// mac is the link-layer address that a node has in the tunnel: a local one, with its
// address in it.
func mac(ip netip.Addr) net.HardwareAddr {
	b := ip.As4()
	return net.HardwareAddr{0x0a, 0x68, b[0], b[1], b[2], b[3]}
}

// inner is the address that a node has in the tunnel: the first of its range, which no
// pod and no bridge has.
func inner(pods netip.Prefix) netip.Addr { return pods.Masked().Addr() }

// inner6 is the next hop in the tunnel to a node with an address: none has it, all that
// counts is the link-layer address behind it.
func inner6(ip netip.Addr) netip.Addr {
	b := ip.As4()
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: 0x0a, 9: 0x68, 12: b[0], 13: b[1], 14: b[2], 15: b[3]})
}

// read returns the peer that a Node is; false if it has no address or no range yet, or a
// range that is not the cluster's, for which it is not asked.
func read(n *corev1.Node, cluster, cluster6 netip.Prefix) (peer, bool) {
	pods, err := netip.ParsePrefix(n.Spec.PodCIDR)
	if err != nil || !pods.Addr().Is4() || pods.Bits() < cluster.Bits() || !cluster.Contains(pods.Addr()) {
		return peer{}, false
	}
	p := peer{name: n.Name, pods: pods.Masked(), since: n.CreationTimestamp.Time, pods6: range6(n, cluster6)}
	for _, a := range n.Status.Addresses {
		ip, err := netip.ParseAddr(a.Address)
		switch {
		case err != nil || a.Type != corev1.NodeInternalIP:
		case ip.Is4() && !p.ip.IsValid():
			p.ip = ip
		case ip.Is6() && !ip.Is4In6() && !p.ip6.IsValid():
			p.ip6 = ip
		}
	}
	if !p.ip.IsValid() {
		return peer{}, false
	}
	return p, true
}

// range6 is the range of IPv6 of a node's pods, not valid without one of the cluster's.
func range6(n *corev1.Node, cluster netip.Prefix) netip.Prefix {
	for _, text := range n.Spec.PodCIDRs {
		pods, err := netip.ParsePrefix(text)
		if err == nil && cluster.IsValid() && pods.Addr().Is6() && pods.Bits() >= cluster.Bits() && cluster.Contains(pods.Addr()) {
			return pods.Masked()
		}
	}
	return netip.Prefix{}
}

// route leads to the pods of one peer.
type route struct {
	pods netip.Prefix
	// via is the next hop: the peer on the same link, or its address in the tunnel.
	via netip.Addr
	// tunnel says that it goes through the tunnel, to the peer at outer.
	tunnel bool
	outer  netip.Addr
}

// plan decides on the routes to peers, for a node whose own pods have
// ranges, own6 being that of IPv6 if it is valid. near tells
// whether a peer is on a link of this node. Of nodes whose ranges overlap, which the server
// never hands out, the oldest has it, and this node before all.
func plan(peers []peer, own, own6 netip.Prefix, near func(netip.Addr) (bool, error)) (routes []route, err error) {
	peers = slices.Clone(peers)
	slices.SortFunc(peers, func(a, b peer) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.name, b.name)) })
	for _, p := range peers {
		if p.pods.Overlaps(own) || slices.ContainsFunc(routes, func(r route) bool { return r.pods.Overlaps(p.pods) }) {
			continue
		}
		isNear, err := near(p.ip)
		switch {
		case err != nil: // what there is stays until it is known
			return nil, fmt.Errorf("find the way to node %s: %w", p.name, err)
		case isNear:
			routes = append(routes, route{pods: p.pods, via: p.ip})
		default:
			routes = append(routes, route{pods: p.pods, via: inner(p.pods), tunnel: true, outer: p.ip})
		}
		if !own6.IsValid() || !p.pods6.IsValid() || p.pods6.Overlaps(own6) || slices.ContainsFunc(routes, func(r route) bool { return r.pods.Overlaps(p.pods6) }) {
			continue
		}
		// A node whose IPv6 address is not on a link of this one, or not known, is
		// reached by its IPv4 address.
		next := route{pods: p.pods6, via: inner6(p.ip), tunnel: true, outer: p.ip}
		if p.ip6.IsValid() {
			if isNear, err := near(p.ip6); err == nil && isNear {
				next = route{pods: p.pods6, via: p.ip6}
			}
		}
		routes = append(routes, next)
	}
	return routes, nil
}
