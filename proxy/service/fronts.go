package service

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Fronts decides who has an address that several Services name, such as the same
// external IP and port: one of them has all of it, or else its connections would be
// spread over the endpoints of both. A cluster IP belongs to its Service, whoever
// names it as an external address. Of the others, the Service that is there longest
// has it, so that nobody can take what another has.
//
// It looks at what changed alone, and at who competes with that.
type Fronts struct {
	decided map[types.NamespacedName]*Decision
	claims  map[front][]claim // the first has it
}

// front is what connections are made to; the address of a node port is unspecified.
type front struct {
	addr     netip.Addr
	protocol string
	port     uint16
}

type claim struct {
	by      types.NamespacedName
	own     bool // it is its cluster IP
	created time.Time
}

func (c claim) compare(o claim) int {
	switch {
	case c.own != o.own && c.own:
		return -1
	case c.own != o.own:
		return 1
	}
	return cmp.Or(c.created.Compare(o.created), cmp.Compare(c.by.Namespace, o.by.Namespace), cmp.Compare(c.by.Name, o.by.Name))
}

// NewFronts knows of no Service.
func NewFronts() *Fronts {
	return &Fronts{decided: map[types.NamespacedName]*Decision{}, claims: map[front][]claim{}}
}

// Decided is what was decided last of a Service; nil: it is not known.
func (f *Fronts) Decided(name types.NamespacedName) *Decision { return f.decided[name] }

// Settle takes out of the decisions what belongs to other Services. The result also
// has the Services that get something, or lose it, by the changes of others.
func (f *Fronts) Settle(changes Changes) Changes {
	out := Changes{Of: map[types.NamespacedName]*Decision{}, All: changes.All}
	touched := map[types.NamespacedName]bool{}
	change := func(name types.NamespacedName, d *Decision) {
		touched[name] = true
		for _, at := range [2]*Decision{f.decided[name], d} {
			for front := range frontsOf(at) {
				for _, c := range f.claims[front] { // whom it is about, too
					touched[c.by] = true
				}
			}
		}
		f.replace(name, d)
	}
	for name, d := range changes.Of {
		change(name, d)
	}
	if changes.All {
		for name := range f.decided {
			if _, there := changes.Of[name]; !there {
				change(name, nil)
			}
		}
	}
	for name := range touched {
		out.Of[name] = f.settled(name)
	}
	return out
}

func (f *Fronts) replace(name types.NamespacedName, d *Decision) {
	for front := range frontsOf(f.decided[name]) {
		f.claims[front] = slices.DeleteFunc(f.claims[front], func(c claim) bool { return c.by == name })
		if len(f.claims[front]) == 0 {
			delete(f.claims, front)
		}
	}
	delete(f.decided, name)
	if d == nil {
		return
	}
	f.decided[name] = d
	for front, own := range frontsOf(d) {
		f.claims[front] = append(f.claims[front], claim{name, own, d.Created})
		slices.SortFunc(f.claims[front], claim.compare)
	}
}

// settled is a decision without what others have; nil if the Service is gone.
func (f *Fronts) settled(name types.NamespacedName) *Decision {
	d := f.decided[name]
	lost := false
	for front := range frontsOf(d) {
		lost = lost || f.claims[front][0].by != name
	}
	if !lost {
		return d
	}
	out := *d
	out.Ports = nil
	for _, p := range d.Ports {
		has := func(addr netip.Addr, port uint16) bool { return f.claims[front{addr, p.Protocol, port}][0].by == name }
		lacks := func(addr netip.Addr) bool { return !has(addr, p.Number) }
		if lacks(p.ClusterIP) {
			continue
		}
		p.ExternalIPs = slices.DeleteFunc(slices.Clone(p.ExternalIPs), lacks)
		p.LoadBalancerIPs = slices.DeleteFunc(slices.Clone(p.LoadBalancerIPs), lacks)
		if p.NodePort != 0 && !has(p.Family.unspecified(), p.NodePort) {
			p.NodePort = 0
		}
		out.Ports = append(out.Ports, p)
	}
	return &out
}

// frontsOf are the fronts that a decision names, true for cluster IPs.
func frontsOf(d *Decision) map[front]bool {
	out := map[front]bool{}
	if d == nil {
		return out
	}
	for i := range d.Ports {
		p := &d.Ports[i]
		for _, ips := range [2][]netip.Addr{p.ExternalIPs, p.LoadBalancerIPs} {
			for _, ip := range ips {
				out[front{ip, p.Protocol, p.Number}] = false
			}
		}
		if p.NodePort != 0 {
			out[front{p.Family.unspecified(), p.Protocol, p.NodePort}] = false
		}
	}
	for i := range d.Ports {
		out[front{d.Ports[i].ClusterIP, d.Ports[i].Protocol, d.Ports[i].Number}] = true
	}
	return out
}

func (f Family) unspecified() netip.Addr {
	if f == IPv6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}
