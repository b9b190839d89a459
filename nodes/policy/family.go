package policy

import (
	"net/netip"

	"headway.dev/manifests/nodepolicy"
)

// family is one of addresses, in the words of nft.
type family struct{ kind, ip, protocol, icmp, suffix string }

var (
	four = family{"ipv4_addr", "ip", "ipv4", "icmp", ""}
	six  = family{"ipv6_addr", "ip6", "ipv6", "ipv6-icmp", "6"}
)

func familyOf(ip netip.Addr) family {
	if ip.Is4() {
		return four
	}
	return six
}

// name is the name of a set, a map or a chain for the family.
func (f family) name(of string) string { return of + f.suffix }

// source is that of a connection.
func (f family) source() string { return "ct original " + f.ip + " saddr" }

// destination is where a connection goes after it was led to an endpoint.
func (f family) destination() string { return "ct reply " + f.ip + " saddr" }

// forwardRules judge what is forwarded.
func (f family) forwardRules() []string {
	return []string{
		"meta nfproto != " + f.protocol + " return",
		"ct state related meta l4proto " + f.icmp + " return",
		"ct state invalid,untracked " + f.ip + " saddr @" + f.name(podsSet) + " drop",
		"ct state invalid,untracked " + f.ip + " daddr @" + f.name(podsSet) + " drop",
		f.source() + " @" + f.name(nodepolicy.Nodes) + " return",
		f.source() + " . " + f.destination() + " @" + f.name(selfSet) + " return",
		f.source() + " vmap @" + f.name(egressMap),
		f.destination() + " vmap @" + f.name(ingressMap),
	}
}

// families are those that pods have addresses of.
func (r *Rules) families() []family {
	if r.dual {
		return []family{four, six}
	}
	return []family{four}
}

// ownAddress6 is what pods may send by IPv6: what is for their link alone, and, if they have
// an address, what is from it.
func (r *Rules) ownAddress6() string {
	if !r.dual {
		return "accept" // of the link, as they have no other
	}
	return "jump " + six.name("ingress")
}
