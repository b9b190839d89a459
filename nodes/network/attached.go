package network

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Attachment is a pod's place in the network: its addresses, and the host end of its link.
type Attachment struct {
	Pod, Link string
	IP        netip.Addr
	// IP6 is not valid if the pod has no IPv6 address. Router is the link-layer address
	// of the node on the pods' bridge then, as text; empty while there is no bridge.
	IP6    netip.Addr
	Router string
}

// Attached are the pods that have an address, by address.
func (n *Network) Attached() []Attachment {
	n.mu.Lock()
	defer n.mu.Unlock()
	var router string
	if n.ipam.six.IsValid() {
		if bridge, err := netlink.LinkByName(n.cfg.Bridge); err == nil {
			router = bridge.Attrs().HardwareAddr.String()
		}
	}
	var all []Attachment
	for _, l := range n.ipam.sorted() {
		a := Attachment{Pod: l.Pod, Link: n.vethName(l.Pod), IP: l.IP, IP6: l.IP6}
		if l.IP6.IsValid() {
			a.Router = router
		}
		all = append(all, a)
	}
	return all
}

// Gateway is the node's own address on the bridge, which its pods know it by; it is not
// valid before the node has a range of addresses.
func (n *Network) Gateway() netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ipam.prefix.IsValid() {
		return netip.Addr{}
	}
	return n.ipam.gateway()
}

// Gateway6 is the one of IPv6; not valid if pods have none.
func (n *Network) Gateway6() netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ipam.six.IsValid() {
		return netip.Addr{}
	}
	return n.gateway6().Addr()
}
