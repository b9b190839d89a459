package gateway

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Gateway is one of Headway's own classes.
type Gateway struct {
	*gatewayv1.Gateway
	Listeners []*Listener
	fault     fault // why nothing of it is served
}

// Listener is one of a Gateway's.
type Listener struct {
	Gateway *Gateway
	Spec    *gatewayv1.Listener
	// Hostname is in small letters; empty: all hosts.
	Hostname string
	// Certificates are the Secrets that it may use, if it terminates TLS.
	Certificates []types.NamespacedName
	// Attached counts routes.
	Attached int32

	kinds      []gatewayv1.RouteGroupKind
	accepted   fault
	conflict   fault
	references fault
	selector   labels.Selector
}

// Secure reports whether a listener terminates TLS.
func (l *Listener) Secure() bool { return l.Spec.Protocol == gatewayv1.HTTPSProtocolType }

// Served reports whether requests are accepted. One of HTTPS without a certificate that
// holds is not: nobody could speak to it.
func (l *Listener) Served() bool {
	return !l.Gateway.fault.is() && !l.accepted.is() && !l.conflict.is() && (!l.Secure() || len(l.Certificates) > 0)
}

func (d *Decision) newGateway(g *gatewayv1.Gateway) *Gateway {
	out := &Gateway{Gateway: g}
	switch s := &g.Spec; {
	case len(s.Addresses) > 0:
		out.fault = faultf(gatewayv1.GatewayReasonUnsupportedAddress, "Gateways have the addresses of the nodes, and cannot ask for others")
	case s.Infrastructure != nil && s.Infrastructure.ParametersRef != nil:
		out.fault = faultf(gatewayv1.GatewayReasonInvalidParameters, "there are no parameters: spec.infrastructure.parametersRef has to be empty")
	case s.TLS != nil && s.TLS.Frontend != nil:
		out.fault = faultf(gatewayv1.GatewayReasonInvalid, "certificates of clients are not verified: spec.tls.frontend has to be empty")
	case s.TLS != nil && s.TLS.Backend != nil:
		out.fault = faultf(gatewayv1.GatewayReasonInvalid, "backends are shown no certificate: spec.tls.backend has to be empty")
	}
	for i := range g.Spec.Listeners {
		out.Listeners = append(out.Listeners, d.newListener(out, &g.Spec.Listeners[i]))
	}
	return out
}

func (d *Decision) newListener(g *Gateway, spec *gatewayv1.Listener) *Listener {
	l := &Listener{Gateway: g, Spec: spec, Hostname: strings.ToLower(string(deref(spec.Hostname, "")))}
	l.accepted = l.unsupported()
	if !l.accepted.is() && d.in.Taken != nil {
		if who := d.in.Taken(spec.Port); who != "" {
			l.accepted = faultf(gatewayv1.ListenerReasonPortUnavailable, "the port %d of the nodes is %s", spec.Port, who)
		}
	}
	l.setKinds()
	if l.Secure() && !l.accepted.is() {
		d.certify(l)
	}
	return l
}

const (
	// firstFree is the first port that not only root may have.
	firstFree = 1024
	// firstNodePort and lastNodePort are the range of node ports.
	firstNodePort, lastNodePort = 30000, 32767
	// mostPorts bounds those that all Gateways have besides 80 and 443: each is a socket on
	// each node.
	mostPorts = 64
)

// unsupported is what a listener asks for and does not get.
func (l *Listener) unsupported() fault {
	spec := l.Spec
	switch {
	case !l.known():
		return faultf(gatewayv1.ListenerReasonUnsupportedProtocol, "%s is not served: the protocols are HTTP and HTTPS", spec.Protocol)
	case spec.Port < firstFree && spec.Port != 80 && spec.Port != 443:
		return faultf(gatewayv1.ListenerReasonPortUnavailable, "of the ports below %d only 80 and 443 are for Gateways: the others are for programs of the nodes", firstFree)
	case spec.Port >= firstNodePort && spec.Port <= lastNodePort:
		return faultf(gatewayv1.ListenerReasonPortUnavailable, "the ports %d to %d are the node ports of Services", firstNodePort, lastNodePort)
	case spec.Port == 80 && l.Secure():
		return faultf(gatewayv1.ListenerReasonPortUnavailable, "the port 80 is that of HTTP, which it shares with Ingresses")
	case spec.Port == 443 && !l.Secure():
		return faultf(gatewayv1.ListenerReasonPortUnavailable, "the port 443 is that of HTTPS, which it shares with Ingresses")
	case l.Secure() && spec.TLS == nil:
		return faultf(gatewayv1.ListenerReasonUnsupportedValue, "HTTPS needs tls.certificateRefs")
	case l.Secure() && deref(spec.TLS.Mode, gatewayv1.TLSModeTerminate) != gatewayv1.TLSModeTerminate:
		return faultf(gatewayv1.ListenerReasonUnsupportedValue, "HTTPS ends at the Gateway: tls.mode has to be Terminate")
	case spec.TLS != nil && len(spec.TLS.Options) > 0:
		return faultf(gatewayv1.ListenerReasonUnsupportedValue, "there are no options of TLS: tls.options has to be empty")
	}
	if a := spec.AllowedRoutes; a != nil && a.Namespaces != nil && deref(a.Namespaces.From, gatewayv1.NamespacesFromSame) == gatewayv1.NamespacesFromSelector {
		var err error
		if l.selector, err = metav1.LabelSelectorAsSelector(a.Namespaces.Selector); err != nil {
			return faultf(gatewayv1.ListenerReasonUnsupportedValue, "allowedRoutes.namespaces.selector: %v", err)
		}
	}
	return fault{}
}

// setKinds finds out which kinds of routes may be attached.
func (l *Listener) setKinds() {
	group := gatewayv1.Group(gatewayv1.GroupName)
	all := []gatewayv1.RouteGroupKind{{Group: &group, Kind: "HTTPRoute"}, {Group: &group, Kind: "GRPCRoute"}}
	l.kinds = []gatewayv1.RouteGroupKind{}
	if !l.known() {
		return
	}
	if l.Spec.AllowedRoutes == nil || len(l.Spec.AllowedRoutes.Kinds) == 0 {
		l.kinds = all
		return
	}
	for _, want := range l.Spec.AllowedRoutes.Kinds {
		if i := slices.IndexFunc(all, func(k gatewayv1.RouteGroupKind) bool { return deref(want.Group, group) == group && want.Kind == k.Kind }); i >= 0 {
			l.kinds = append(l.kinds, all[i])
			continue
		}
		l.references = faultf(gatewayv1.ListenerReasonInvalidRouteKinds, "routes of the kind %s are not served", want.Kind)
	}
}

// mostCertificates bounds those of a listener: each node follows every one of them.
const mostCertificates = 16

// certify finds out which certificates a listener has.
func (d *Decision) certify(l *Listener) {
	if n := len(l.Spec.TLS.CertificateRefs); n > mostCertificates {
		l.references = faultf(gatewayv1.ListenerReasonInvalidCertificateRef, "a listener has %d certificates at most, and not %d", mostCertificates, n)
		return
	}
	for _, ref := range l.Spec.TLS.CertificateRefs {
		name := secretOf(l.Gateway.Gateway, ref)
		problem := ""
		switch {
		case !isSecret(ref):
			l.references = faultf(gatewayv1.ListenerReasonInvalidCertificateRef, "certificates are Secrets, not of the kind %s", deref(ref.Kind, "Secret"))
			continue
		case !d.grants.permits(GatewayKind, l.Gateway.Namespace, schema.GroupKind{Kind: "Secret"}, name):
			l.references = faultf(gatewayv1.ListenerReasonRefNotPermitted, "no ReferenceGrant permits Gateways of the namespace %s to refer to the Secret %s", l.Gateway.Namespace, name)
			continue
		case d.in.Certificate != nil:
			problem = d.in.Certificate(name)
		}
		if problem != "" {
			l.references = faultf(gatewayv1.ListenerReasonInvalidCertificateRef, "the Secret %s is no certificate: %s", name, problem)
			continue
		}
		l.Certificates = append(l.Certificates, name)
	}
	if len(l.Spec.TLS.CertificateRefs) == 0 {
		l.references = faultf(gatewayv1.ListenerReasonInvalidCertificateRef, "HTTPS needs tls.certificateRefs")
	}
}

// allows reports whether a listener lets routes of a kind and a namespace be attached.
func (d *Decision) allows(l *Listener, kind, namespace string) bool {
	if !slices.ContainsFunc(l.kinds, func(k gatewayv1.RouteGroupKind) bool { return string(k.Kind) == kind }) {
		return false
	}
	from := gatewayv1.NamespacesFromSame
	if a := l.Spec.AllowedRoutes; a != nil && a.Namespaces != nil {
		from = deref(a.Namespaces.From, from)
	}
	switch from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return namespace == l.Gateway.Namespace
	case gatewayv1.NamespacesFromSelector:
		// A namespace that is not known yet is none that a selector means.
		have, known := d.in.Namespaces[namespace]
		return known && l.selector != nil && l.selector.Matches(labels.Set(have))
	case gatewayv1.NamespacesFromNone:
	}
	return false
}
