package records

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// reverse returns what there is of a name below in-addr.arpa and ip6.arpa. Names of
// addresses in the cluster's ranges are answered here and nowhere else, and so are
// those of addresses elsewhere that an endpoint has.
func (z *Zone) reverse(name, lower string, qtype uint16) (Answer, bool) {
	r, ok := parseReverse(lower)
	if !ok {
		return Answer{}, false
	}
	var rrs []dns.RR
	if r.above == 0 && r.prefix.IsSingleIP() {
		for _, target := range z.pointers(r.prefix.Addr()) {
			rrs = append(rrs, &dns.PTR{Hdr: header(name, dns.TypePTR), Ptr: target})
		}
	}
	i := slices.IndexFunc(z.ranges, func(p netip.Prefix) bool { return p.Contains(r.prefix.Addr()) && p.Bits() <= r.prefix.Bits() })
	if len(rrs) > 0 && qtype == dns.TypePTR {
		return Answer{Answer: rrs}, true
	}
	if i < 0 {
		return Answer{}, false
	}
	a := Answer{Ns: []dns.RR{z.soa(r.zone(z.ranges[i].Bits()))}}
	if r.above > 0 || r.prefix.IsSingleIP() && len(rrs) == 0 {
		a.Rcode = dns.RcodeNameError
	}
	return a, true
}

// pointers are the names of an address: of the Services whose cluster IP it is, and
// of the endpoints of headless Services that have it.
func (z *Zone) pointers(addr netip.Addr) []string {
	var names []string
	for _, n := range z.names[addr] {
		s := z.services[n.service]
		if s == nil {
			continue
		}
		service := n.service.name + "." + n.service.namespace + ".svc." + z.domain
		if n.slice == nil {
			names = append(names, service)
		} else if e := n.slice.endpoints[n.at]; s.headless() && (e.ready || s.unready) {
			names = append(names, e.label()+"."+service)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ReverseAddr returns the address that a name below in-addr.arpa or ip6.arpa is of.
func ReverseAddr(name string) (netip.Addr, bool) {
	r, ok := parseReverse(strings.ToLower(name))
	return r.prefix.Addr(), ok && r.above == 0 && r.prefix.IsSingleIP()
}

// reversed is a name below in-addr.arpa or ip6.arpa.
type reversed struct {
	prefix netip.Prefix
	above  int // labels above those of an address
	labels []string
}

// parseReverse reads such a name. Names of part of an address give its prefix.
func parseReverse(name string) (reversed, bool) {
	base, bits, size := 10, 8, 4
	rest, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	if !ok {
		base, bits, size = 16, 4, 32
		if rest, ok = strings.CutSuffix(name, ".ip6.arpa."); !ok {
			return reversed{}, false
		}
	}
	r := reversed{labels: strings.Split(strings.TrimSuffix(name, "."), ".")}
	labels := strings.Split(rest, ".")
	var raw [16]byte
	n := 0
	for i := len(labels) - 1; i >= 0 && n < size; i-- {
		v, err := strconv.ParseUint(labels[i], base, bits)
		if err != nil || bits == 4 && len(labels[i]) != 1 {
			break
		}
		if bits == 8 {
			raw[n] = byte(v)
		} else {
			raw[n/2] |= byte(v) << (4 * (1 - n%2))
		}
		n++
	}
	if n == 0 {
		return reversed{}, false
	}
	r.above = len(labels) - n
	addr := netip.AddrFrom16(raw)
	if bits == 8 {
		addr = netip.AddrFrom4([4]byte(raw[:4]))
	}
	r.prefix = netip.PrefixFrom(addr, n*bits)
	return r, true
}

// zone is the name that the SOA record of a range has for this name: of as many whole
// labels as the range has at least.
func (r reversed) zone(bits int) string {
	each := 8
	if r.prefix.Addr().Is6() {
		each = 4
	}
	n := min((bits+each-1)/each+2, len(r.labels))
	return strings.Join(r.labels[len(r.labels)-n:], ".") + "."
}
