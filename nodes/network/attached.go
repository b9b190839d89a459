package network

import "net/netip"

// Attachment is a pod's place in the network: its address, and the host end of its link.
type Attachment struct {
	Pod, Link string
	IP        netip.Addr
}

// Attached are the pods that have an address, by address.
func (n *Network) Attached() []Attachment {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []Attachment
	for _, l := range n.ipam.sorted() {
		all = append(all, Attachment{Pod: l.Pod, Link: n.vethName(l.Pod), IP: l.IP})
	}
	return all
}
