package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"
)

// Settings is the name of the ConfigMap in kube-system that has the pool, under the key
// Pool: ranges and prefixes, with commas or white space between.
const (
	Settings = "headway-load-balancer"
	Pool     = "pool"
)

// Range are addresses from First to Last, both of them included.
type Range struct{ First, Last netip.Addr }

func (r Range) contains(ip netip.Addr) bool {
	return r.First.Compare(ip) <= 0 && ip.Compare(r.Last) <= 0
}

// ParsePool reads ranges: 10.0.0.240-10.0.0.250, 10.1.0.0/28, 10.2.0.7. Of a prefix that
// is shorter than 31 bits, the first and the last address are none that hosts can have.
func ParsePool(text string) ([]Range, error) {
	var out []Range
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' }) {
		r, err := parseRange(word)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", word, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func parseRange(word string) (Range, error) {
	if first, last, ok := strings.Cut(word, "-"); ok {
		a, err1 := netip.ParseAddr(first)
		b, err2 := netip.ParseAddr(last)
		if err1 != nil || err2 != nil || !a.Is4() || !b.Is4() {
			return Range{}, fmt.Errorf("not a range of IPv4 addresses such as 10.0.0.240-10.0.0.250")
		}
		if b.Less(a) {
			return Range{}, fmt.Errorf("the last address is before the first")
		}
		return Range{a, b}, nil
	}
	if !strings.Contains(word, "/") {
		a, err := netip.ParseAddr(word)
		if err != nil || !a.Is4() {
			return Range{}, fmt.Errorf("not an IPv4 address, a prefix such as 10.1.0.0/28, or a range such as 10.0.0.240-10.0.0.250")
		}
		return Range{a, a}, nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil || !p.Addr().Is4() || p.Masked() != p {
		return Range{}, fmt.Errorf("not a prefix of IPv4 addresses such as 10.1.0.0/28")
	}
	if p.Bits() < 16 {
		return Range{}, fmt.Errorf("a prefix of more than 65536 addresses")
	}
	first, b := p.Addr(), p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	last := netip.AddrFrom4(b)
	if p.Bits() < 31 {
		first, last = first.Next(), last.Prev()
	}
	return Range{first, last}, nil
}
