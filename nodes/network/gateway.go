package network

import "net/netip"

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
