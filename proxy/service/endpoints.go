package service

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// endpoint is where a service port leads to.
type endpoint struct {
	addr  netip.AddrPort
	node  string
	ready bool // or else it terminates and still serves
	hints *discoveryv1.EndpointHints
}

// usable lists the endpoints of a service port in a fixed order: those that are
// ready, and those that terminate but still serve.
func usable(endpointSlices []*discoveryv1.EndpointSlice, port corev1.ServicePort, family Family) []endpoint {
	var found []endpoint
	for _, s := range endpointSlices {
		if string(s.AddressType) != family.String() || s.DeletionTimestamp != nil {
			continue
		}
		number, ok := targetPort(s, port)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) == 0 {
				continue
			}
			ip, err := netip.ParseAddr(e.Addresses[0]) // the others are the same pod
			if err != nil || FamilyOf(ip) != family {
				continue
			}
			c := e.Conditions
			ready := ptr.Deref(c.Ready, true)
			if ready || ptr.Deref(c.Serving, ready) && ptr.Deref(c.Terminating, false) {
				found = append(found, endpoint{addr: netip.AddrPortFrom(ip, number), node: ptr.Deref(e.NodeName, ""), ready: ready, hints: e.Hints})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b endpoint) int {
		if c := a.addr.Compare(b.addr); c != 0 || a.ready == b.ready {
			return c
		}
		if a.ready {
			return -1
		}
		return 1
	})
	// An endpoint that moves between slices is in both for a while.
	return slices.CompactFunc(found, func(a, b endpoint) bool { return a.addr == b.addr })
}

// near keeps of the endpoints that are ready those that the slices' hints give
// to this node or, failing that, to its zone. Hints are followed only if every
// endpoint that is ready has one, and one of them is for here: or else they are
// being written, or nobody would answer.
func near(node, zone string, endpoints []endpoint) []endpoint {
	var byNode, byZone []endpoint
	nodeHints, zoneHints := true, zone != ""
	for _, e := range endpoints {
		if !e.ready {
			continue
		}
		if e.hints == nil || len(e.hints.ForNodes) == 0 {
			nodeHints = false
		} else if slices.ContainsFunc(e.hints.ForNodes, func(n discoveryv1.ForNode) bool { return n.Name == node }) {
			byNode = append(byNode, e)
		}
		if e.hints == nil || len(e.hints.ForZones) == 0 {
			zoneHints = false
		} else if slices.ContainsFunc(e.hints.ForZones, func(z discoveryv1.ForZone) bool { return z.Name == zone }) {
			byZone = append(byZone, e)
		}
	}
	switch {
	case nodeHints && len(byNode) > 0:
		return byNode
	case zoneHints && len(byZone) > 0:
		return byZone
	}
	return endpoints
}

// prefer takes the ready ones; if there are none, those that terminate but
// still serve (KEP-1669). So the last pods of a service, or of its part on one
// node, answer until they are gone, and a pod that ends while others are ready
// gets no new connections.
func prefer(endpoints []endpoint) []endpoint {
	ready := slices.DeleteFunc(slices.Clone(endpoints), func(e endpoint) bool { return !e.ready })
	if len(ready) > 0 {
		return ready
	}
	return endpoints
}

// on keeps the endpoints of one node.
func on(node string, endpoints []endpoint) []endpoint {
	return slices.DeleteFunc(slices.Clone(endpoints), func(e endpoint) bool { return e.node != node })
}

// targetPort is the port number of the slice that has the service port's name.
func targetPort(s *discoveryv1.EndpointSlice, port corev1.ServicePort) (uint16, bool) {
	for _, p := range s.Ports {
		if ptr.Deref(p.Name, "") == port.Name && ptr.Deref(p.Protocol, corev1.ProtocolTCP) == defaultTCP(port.Protocol) && p.Port != nil {
			return uint16(*p.Port), *p.Port > 0 && *p.Port < 1<<16
		}
	}
	return 0, false
}

func defaultTCP(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

func addrs(endpoints []endpoint) []netip.AddrPort {
	out := make([]netip.AddrPort, len(endpoints))
	for i, e := range endpoints {
		out[i] = e.addr
	}
	return out
}
