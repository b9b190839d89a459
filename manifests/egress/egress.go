package egress

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// named are the ranges that have a name.
var named = map[string][]netip.Prefix{
	"loopback":   prefixes("127.0.0.0/8", "::1/128", "0.0.0.0/8", "::/128"),
	"link-local": prefixes("169.254.0.0/16", "fe80::/10", "224.0.0.0/24", "ff02::/16"),
	// Where clouds answer their machines with credentials.
	"metadata": prefixes("169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32"),
	"private":  prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
}

// none is the name of an empty list.
const none = "none"

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// Names returns the names that Parse knows.
func Names() []string { return []string{"loopback", "link-local", "metadata", "private"} }

// Policy denies addresses; nil denies none.
type Policy struct{ rules []rule }

type rule struct {
	name   string
	ranges []netip.Prefix
}

// Parse reads names and ranges such as 10.0.0.0/8; "none" alone means no rule.
func Parse(list []string) (*Policy, error) {
	p := &Policy{}
	for _, item := range list {
		item = strings.TrimSpace(item)
		ranges, ok := named[item]
		if item == none && len(list) == 1 {
			return p, nil
		}
		if !ok {
			prefix, err := netip.ParsePrefix(item)
			if addr, bad := netip.ParseAddr(item); err != nil && bad == nil {
				prefix, err = addr.Prefix(addr.BitLen())
			}
			if err != nil {
				return nil, fmt.Errorf("%q is neither a range such as 10.0.0.0/8 nor one of %s; %s alone denies nothing", item, strings.Join(Names(), ", "), none)
			}
			ranges = []netip.Prefix{prefix.Masked()}
		}
		p.rules = append(p.rules, rule{item, ranges})
	}
	return p, nil
}

// DeniedError reports an address that may not be reached.
type DeniedError struct {
	Address netip.Addr
	Rule    string
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("the address %s is not reached: --deny-addresses has %s", e.Address, e.Rule)
}

// Check returns a DeniedError for an address that may not be reached.
func (p *Policy) Check(addr netip.Addr) error {
	if p == nil {
		return nil
	}
	addr = addr.Unmap().WithZone("")
	for _, a := range append([]netip.Addr{addr}, within(addr)...) {
		for _, r := range p.rules {
			if slices.ContainsFunc(r.ranges, func(prefix netip.Prefix) bool { return prefix.Contains(a) }) {
				return &DeniedError{addr, r.name}
			}
		}
	}
	return nil
}

// within are the IPv4 addresses that an IPv6 one leads to: by NAT64 (RFC 6052),
// 6to4, and those that are compatible with IPv4.
func within(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	b := addr.As16()
	v4 := func(at int) []netip.Addr { return []netip.Addr{netip.AddrFrom4([4]byte(b[at : at+4]))} }
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr):
		return v4(12)
	case netip.MustParsePrefix("64:ff9b:1::/48").Contains(addr):
		// A network may use it as it is, or a longer prefix of it (RFC 8215).
		list := append(v4(12),
			netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}),   // /48
			netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}),  // /56
			netip.AddrFrom4([4]byte{b[9], b[10], b[11], b[12]})) // /64
		// 0.0.0.0/8, which the bytes of another length seem to be, leads nowhere.
		return slices.DeleteFunc(list, func(a netip.Addr) bool { return a.As4()[0] == 0 })
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		return v4(2)
	case netip.MustParsePrefix("::/96").Contains(addr) && addr != netip.IPv6Loopback():
		return v4(12)
	}
	return nil
}

// Dialer dials only addresses that are not denied: it checks when the name is
// resolved and before a packet is sent.
func (p *Policy) Dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second, Control: p.control}
}

func (p *Policy) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %s: %w", address, err)
	}
	return p.Check(at.Addr())
}

// Target returns a DeniedError if a host is, or currently resolves to, a denied
// address: for addresses that a proxy dials. A name that only the proxy can
// resolve passes.
func (p *Policy) Target(ctx context.Context, host string) error {
	if p == nil || len(p.rules) == 0 {
		return nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.Check(addr)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil //nolint:nilerr // the proxy may know it
	}
	for _, addr := range addrs {
		if err := p.Check(addr); err != nil {
			return err
		}
	}
	return nil
}

// Transport makes an HTTP transport check each request and redirect, also where
// a proxy dials.
func (p *Policy) Transport(t *http.Transport, timeout time.Duration) {
	t.DialContext = p.Dialer(timeout).DialContext
	choose := t.Proxy
	if choose == nil {
		return
	}
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		via, err := choose(r)
		if via == nil || err != nil {
			return via, err
		}
		return via, p.Target(r.Context(), r.URL.Hostname())
	}
}
