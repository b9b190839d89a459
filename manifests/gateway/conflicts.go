package gateway

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// socket is what listeners of the same protocol are told apart by.
type socket struct {
	port int32
	host string
}

// conflicts finds the listeners that cannot be told from others. Of those of one Gateway none
// is served, as the specification has it: which one is meant is for its owner to say. Of
// those of different Gateways, which share the nodes' addresses, the oldest Gateway's is.
func (d *Decision) conflicts() {
	protocols, hosts := map[int32]*Listener{}, map[socket]*Listener{}
	ports := 0
	for _, g := range d.Gateways {
		g.conflicts()
		if g.fault.is() {
			continue
		}
		for _, l := range g.Listeners {
			if l.accepted.is() || l.conflict.is() {
				continue
			}
			if first := protocols[l.Spec.Port]; first != nil && first.Spec.Protocol != l.Spec.Protocol {
				l.conflict = faultf(gatewayv1.ListenerReasonProtocolConflict, "%s serves %s at the port %d", first.named(g), first.Spec.Protocol, l.Spec.Port)
				continue
			}
			at := socket{l.Spec.Port, l.Hostname}
			if first := hosts[at]; first != nil {
				l.conflict = faultf(gatewayv1.ListenerReasonHostnameConflict, "%s serves the same host at the port %d", first.named(g), l.Spec.Port)
				continue
			}
			if protocols[l.Spec.Port] == nil {
				if own := l.Spec.Port != 80 && l.Spec.Port != 443; own && ports == mostPorts {
					l.accepted = faultf(gatewayv1.ListenerReasonPortUnavailable, "the Gateways of the cluster have %d ports besides 80 and 443 already, which is the most there can be", mostPorts)
					continue
				} else if own {
					ports++
				}
				protocols[l.Spec.Port] = l
			}
			hosts[at] = l
		}
	}
}

// named names a listener for the owner of another Gateway, who need not know what there is in
// other namespaces.
func (l *Listener) named(to *Gateway) string {
	if l.Gateway.Namespace != to.Namespace {
		return "an older Gateway of another namespace"
	}
	return fmt.Sprintf("the listener %s of the older Gateway %s", l.Spec.Name, l.Gateway.Name)
}

// conflicts finds the listeners of a Gateway that cannot be told from each other. Those of
// protocols that are not served do not count.
func (g *Gateway) conflicts() {
	protocols, hosts := map[int32]map[gatewayv1.ProtocolType]bool{}, map[socket]int{}
	for _, l := range g.Listeners {
		if !l.known() {
			continue
		}
		if protocols[l.Spec.Port] == nil {
			protocols[l.Spec.Port] = map[gatewayv1.ProtocolType]bool{}
		}
		protocols[l.Spec.Port][l.Spec.Protocol] = true
		hosts[socket{l.Spec.Port, l.Hostname}]++
	}
	for _, l := range g.Listeners {
		switch {
		case !l.known():
		case len(protocols[l.Spec.Port]) > 1:
			l.conflict = faultf(gatewayv1.ListenerReasonProtocolConflict, "listeners of the Gateway have different protocols at the port %d; none of them is served", l.Spec.Port)
		case hosts[socket{l.Spec.Port, l.Hostname}] > 1:
			l.conflict = faultf(gatewayv1.ListenerReasonHostnameConflict, "listeners of the Gateway have the same host at the port %d; none of them is served", l.Spec.Port)
		}
	}
}

// known reports whether a listener has a protocol that is served.
func (l *Listener) known() bool {
	return l.Spec.Protocol == gatewayv1.HTTPProtocolType || l.Spec.Protocol == gatewayv1.HTTPSProtocolType
}
