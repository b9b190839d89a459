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

// read returns the peer that a Node is; false if it has no address or no range yet, or a
// range that is not the cluster's, for which it is not asked.
func read(n *corev1.Node, cluster netip.Prefix) (peer, bool) {
	pods, err := netip.ParsePrefix(n.Spec.PodCIDR)
	if err != nil || !pods.Addr().Is4() || pods.Bits() < cluster.Bits() || !cluster.Contains(pods.Addr()) {
		return peer{}, false
	}
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is4() {
			return peer{n.Name, ip, pods.Masked(), n.CreationTimestamp.Time}, true
		}
	}
	return peer{}, false
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

// plan decides on the routes to peers, for a node whose own pods have a range. near tells
// whether a peer is on a link of this node. Of nodes whose ranges overlap, which the server
// never hands out, the oldest has it, and this node before all.
func plan(peers []peer, own netip.Prefix, near func(netip.Addr) (bool, error)) (routes []route, err error) {
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
	}
	return routes, nil
}
