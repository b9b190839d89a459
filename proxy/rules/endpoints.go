package rules

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// endpoint is where a service port leads to.
type endpoint struct {
	addr netip.AddrPort
	node string
}

// choose lists the endpoints of a service port in a fixed order: the ready
// ones; if there are none, those that terminate but still serve. So the last
// pods of a service answer until they are gone, and a pod that ends while
// others are ready gets no new connections.
func choose(endpointSlices []*discoveryv1.EndpointSlice, port corev1.ServicePort) []endpoint {
	var ready, leaving []endpoint
	for _, s := range endpointSlices {
		if s.AddressType != discoveryv1.AddressTypeIPv4 || s.DeletionTimestamp != nil {
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
			if err != nil || !ip.Is4() {
				continue
			}
			is := endpoint{addr: netip.AddrPortFrom(ip, number), node: ptr.Deref(e.NodeName, "")}
			c := e.Conditions
			switch isReady := ptr.Deref(c.Ready, true); {
			case isReady:
				ready = append(ready, is)
			case ptr.Deref(c.Serving, isReady) && ptr.Deref(c.Terminating, false):
				leaving = append(leaving, is)
			}
		}
	}
	chosen := ready
	if len(chosen) == 0 {
		chosen = leaving
	}
	// An endpoint that moves between slices is in both for a while.
	slices.SortFunc(chosen, func(a, b endpoint) int { return a.addr.Compare(b.addr) })
	return slices.CompactFunc(chosen, func(a, b endpoint) bool { return a.addr == b.addr })
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
