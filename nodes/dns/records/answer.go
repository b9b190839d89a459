package records

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

const (
	// TTL is how long others may keep what they were told of the cluster, in seconds.
	TTL = 5
	// version is that of the specification.
	version = "1.1.0"
)

// Answer is what there is of a name.
type Answer struct {
	Rcode  int
	Answer []dns.RR
	// Ns has the SOA record if there is no answer.
	Ns    []dns.RR
	Extra []dns.RR
	// Target is the name, outside of what is answered here, that the answer's last
	// CNAME leads to.
	Target string
}

// chainLimit is how many external names lead to another at most.
const chainLimit = 8

// Lookup returns what there is of a name. It returns false for names that are not
// the cluster's.
func (z *Zone) Lookup(name string, qtype uint16) (Answer, bool) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	a, ours := z.lookup(name, qtype)
	if !ours {
		return a, false
	}
	for range chainLimit {
		if a.Target == "" {
			return a, true
		}
		next, ours := z.lookup(a.Target, qtype)
		if !ours {
			return a, true
		}
		next.Answer = append(a.Answer, next.Answer...)
		a = next
	}
	return Answer{Rcode: dns.RcodeServerFailure}, true // they lead in a circle
}

// lookup is Lookup of one step.
func (z *Zone) lookup(name string, qtype uint16) (Answer, bool) {
	lower := strings.ToLower(name)
	if lower == z.domain {
		return z.apex(name, qtype), true
	}
	rest, ours := strings.CutSuffix(lower, "."+z.domain)
	if !ours {
		return z.reverse(name, lower, qtype)
	}
	rrs, extra, exists := z.find(name, strings.Split(rest, "."), qtype)
	a := Answer{Answer: rrs, Extra: extra}
	switch {
	case !exists:
		a.Rcode = dns.RcodeNameError
		fallthrough
	case len(rrs) == 0:
		a.Ns = []dns.RR{z.soa(z.domain)}
	default:
		if cname, ok := rrs[0].(*dns.CNAME); ok && qtype != dns.TypeCNAME {
			a.Target = cname.Target
		}
	}
	return a, true
}

// find returns the records of a type of a name below the zone, given by its labels
// above that. A name without records exists if it has some of another type, or if
// names below it exist.
func (z *Zone) find(name string, labels []string, qtype uint16) (rrs, extra []dns.RR, exists bool) {
	above := labels[:len(labels)-1]
	switch last := labels[len(labels)-1]; last {
	case "svc":
		return z.findService(name, above, qtype)
	case "pod":
		switch len(above) {
		case 0:
			return nil, nil, true
		case 1:
			return nil, nil, z.podNamespaces[above[0]] > 0
		case 2:
			addr, ok := undash(above[0])
			if !ok || z.pods[podAddress{above[1], addr}] == 0 {
				return nil, nil, false
			}
			return Addresses(name, qtype, addr), nil, true
		}
	case "dns-version":
		if len(above) == 0 {
			if qtype == dns.TypeTXT {
				rrs = []dns.RR{&dns.TXT{Hdr: header(name, dns.TypeTXT), Txt: []string{version}}}
			}
			return rrs, nil, true
		}
	case "dns":
		switch {
		case len(above) == 0:
			return nil, nil, true
		case len(above) == 1 && above[0] == "ns":
			return Addresses(name, qtype, z.server), nil, true
		}
	}
	return nil, nil, false
}

// findService is find for names that end with svc.
func (z *Zone) findService(name string, labels []string, qtype uint16) (rrs, extra []dns.RR, exists bool) {
	switch n := len(labels); n {
	case 0:
		return nil, nil, true
	case 1:
		return nil, nil, z.namespaces[labels[0]] > 0
	case 2, 3, 4:
		k := key{labels[n-1], labels[n-2]}
		s := z.services[k]
		switch {
		case s == nil:
			return nil, nil, false
		case s.external != "":
			if n > 2 {
				return nil, nil, false
			}
			return []dns.RR{&dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: s.external}}, nil, true
		case n == 2 && !s.headless():
			return Addresses(name, qtype, s.ips...), nil, true
		case n == 2:
			return z.endpoints(name, k, s, "", qtype)
		case n == 3 && strings.HasPrefix(labels[0], "_"):
			return nil, nil, z.hasPort(k, s, func(p port) bool { return "_"+p.proto == labels[0] })
		case n == 3:
			return z.endpoints(name, k, s, labels[0], qtype)
		}
		match := func(p port) bool { return "_"+p.name == labels[0] && "_"+p.proto == labels[1] }
		if qtype != dns.TypeSRV {
			return nil, nil, z.hasPort(k, s, match)
		}
		rrs, extra = z.srv(name, k, s, match)
		return rrs, extra, len(rrs) > 0
	}
	return nil, nil, false
}

// ready calls f with the endpoints of a Service that count, until it returns false.
func (z *Zone) ready(k key, s *service, f func(*slice, endpoint) bool) {
	for _, sl := range z.byService[k] {
		for _, e := range sl.endpoints {
			if (e.ready || s.unready) && !f(sl, e) {
				return
			}
		}
	}
}

// endpoints are the addresses of a Service's endpoints, of all or of those with a
// host name. In a Service with a cluster IP only names count that were given.
func (z *Zone) endpoints(name string, k key, s *service, host string, qtype uint16) (rrs, extra []dns.RR, exists bool) {
	seen := map[netip.Addr]bool{}
	var list []netip.Addr
	z.ready(k, s, func(_ *slice, e endpoint) bool {
		if host != "" && (e.label() != host || e.host == "" && !s.headless()) || seen[e.addr] {
			return true
		}
		seen[e.addr] = true
		list = append(list, e.addr)
		return true
	})
	return Addresses(name, qtype, list...), nil, len(list) > 0
}

// hasPort reports whether a Service has a port of that kind.
func (z *Zone) hasPort(k key, s *service, match func(port) bool) (found bool) {
	for _, p := range s.ports {
		found = found || match(p)
	}
	if s.headless() {
		z.ready(k, s, func(sl *slice, _ endpoint) bool {
			for _, p := range sl.ports {
				found = found || match(p)
			}
			return !found
		})
	}
	return found
}

// srv are the SRV records of a port. Those of a headless Service have the ports of
// the endpoints: nothing on the way there changes the number.
func (z *Zone) srv(name string, k key, s *service, match func(port) bool) (rrs, extra []dns.RR) {
	service := k.name + "." + k.namespace + ".svc." + z.domain
	add := func(target string, number uint16) {
		rrs = append(rrs, &dns.SRV{Hdr: header(name, dns.TypeSRV), Priority: 0, Weight: 100, Port: number, Target: target})
	}
	also := func(target string, addr netip.Addr) {
		extra = append(extra, Addresses(target, dns.TypeA, addr)...)
		extra = append(extra, Addresses(target, dns.TypeAAAA, addr)...)
	}
	if !s.headless() {
		for _, p := range s.ports {
			if match(p) {
				add(service, p.number)
			}
		}
		if len(rrs) > 0 {
			for _, ip := range s.ips {
				also(service, ip)
			}
		}
		return rrs, extra
	}
	type target struct {
		label string
		port  uint16
	}
	targets, hosts := map[target]bool{}, map[endpoint]bool{}
	z.ready(k, s, func(sl *slice, e endpoint) bool {
		for _, p := range sl.ports {
			if !match(p) {
				continue
			}
			label := e.label()
			if t := (target{label, p.number}); !targets[t] {
				targets[t] = true
				add(label+"."+service, p.number)
			}
			if h := (endpoint{addr: e.addr, host: label}); !hosts[h] {
				hosts[h] = true
				also(label+"."+service, e.addr)
			}
		}
		return true
	})
	return rrs, extra
}

// label is the endpoint's name within its Service: the one it was given, or its
// address with dashes, which stays as long as that.
func (e endpoint) label() string {
	if e.host != "" {
		return e.host
	}
	return dash(e.addr)
}

func dash(addr netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
}

// undash reads the address in a pod's name.
func undash(label string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
		return addr, true
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return addr.Unmap(), err == nil && addr.Zone() == ""
}

// Addresses are the A or AAAA records of those of that family.
func Addresses(name string, qtype uint16, list ...netip.Addr) []dns.RR {
	var rrs []dns.RR
	for _, addr := range list {
		switch {
		case qtype == dns.TypeA && addr.Is4():
			rrs = append(rrs, &dns.A{Hdr: header(name, qtype), A: addr.AsSlice()})
		case qtype == dns.TypeAAAA && addr.Is6():
			rrs = append(rrs, &dns.AAAA{Hdr: header(name, qtype), AAAA: addr.AsSlice()})
		}
	}
	return rrs
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: TTL}
}

func (z *Zone) soa(owner string) *dns.SOA {
	return &dns.SOA{
		Hdr: header(owner, dns.TypeSOA), Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: TTL,
	}
}

// apex is what there is of the zone's own name.
func (z *Zone) apex(name string, qtype uint16) Answer {
	switch qtype {
	case dns.TypeSOA:
		return Answer{Answer: []dns.RR{z.soa(name)}}
	case dns.TypeNS:
		ns := "ns.dns." + z.domain
		return Answer{Answer: []dns.RR{&dns.NS{Hdr: header(name, qtype), Ns: ns}}, Extra: Addresses(ns, dns.TypeA, z.server)}
	}
	return Answer{Ns: []dns.RR{z.soa(z.domain)}}
}
