package gateway

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Route is an HTTPRoute or a GRPCRoute.
type Route struct {
	metav1.Object
	HTTP *gatewayv1.HTTPRoute // nil: it is a GRPCRoute
	GRPC *gatewayv1.GRPCRoute
	// Kind is that of the route.
	Kind schema.GroupKind
	// Attached are the listeners that serve it, each once.
	Attached []Attachment
	Parents  []Parent
	// Dropped are the rules that cannot be served, by their place in the route, and why.
	// Requests for them are answered with an error: another rule, to which they would go
	// otherwise, may let through what one of them shall keep out.
	Dropped map[int]string

	common   *gatewayv1.CommonRouteSpec
	hosts    []gatewayv1.Hostname
	refs     []gatewayv1.BackendObjectReference
	existing []gatewayv1.RouteParentStatus
	places   int   // hosts of all listeners
	fault    fault // what of it cannot be served
}

// mostPlaces is how many hosts of listeners a route has at most, each host counted at each of
// its listeners: a Gateway has up to 64 listeners and a route 16 hosts, but also 32 parents,
// and each node keeps a place of each.
const mostPlaces = 1024

// Attachment is a listener that serves a route for some hosts.
type Attachment struct {
	Listener *Listener
	// Hosts are names, *.NAME for all names that end so, or one empty one for all.
	Hosts []string
}

// Parent is a reference of a route to one of Headway's Gateways, and its status.
type Parent struct {
	Ref        gatewayv1.ParentReference
	Conditions []metav1.Condition
}

// resolve finds the parents of a route.
func (d *Decision) resolve(r *Route) {
	d.judge(r)
	refs := d.references(r)
	attached := map[*Listener]bool{}
	for _, ref := range r.common.ParentRefs {
		if deref(ref.Group, gatewayv1.GroupName) != gatewayv1.GroupName || deref(ref.Kind, "Gateway") != "Gateway" {
			continue
		}
		g := d.byName[types.NamespacedName{Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(r.GetNamespace()))), Name: string(ref.Name)}]
		if g == nil {
			continue // another controller's, or nobody's
		}
		list, problem := d.attach(r, g, ref)
		if r.fault.is() {
			problem, list = r.fault, nil
		}
		more := 0
		for _, a := range list {
			if !attached[a.Listener] {
				more += len(a.Hosts)
			}
		}
		if r.places+more > mostPlaces {
			list, problem = nil, faultf(gatewayv1.RouteReasonUnsupportedValue, "a route has %d hosts of listeners at most, each host counted at each listener, and would have %d with this parent", mostPlaces, r.places+more)
		} else {
			r.places += more
		}
		for _, a := range list {
			if !attached[a.Listener] {
				attached[a.Listener] = true
				d.claim(a, r.Kind)
				a.Listener.Attached++
				if a.Listener.Served() {
					r.Attached = append(r.Attached, a)
				}
			}
		}
		var c conditions
		if problem.is() {
			c.set(r.GetGeneration(), string(gatewayv1.RouteConditionAccepted), problem.reason, false, "%s", problem.message)
		} else {
			c.set(r.GetGeneration(), string(gatewayv1.RouteConditionAccepted), string(gatewayv1.RouteReasonAccepted), true, "the route is attached")
			if what := r.dropped(); what != "" {
				c.set(r.GetGeneration(), string(gatewayv1.RouteConditionPartiallyInvalid), string(gatewayv1.RouteReasonUnsupportedValue), true, "Dropped Rule, whose requests are answered with an error: %s", what)
			}
		}
		if refs.is() {
			c.set(r.GetGeneration(), string(gatewayv1.RouteConditionResolvedRefs), refs.reason, false, "%s", refs.message)
		} else {
			c.set(r.GetGeneration(), string(gatewayv1.RouteConditionResolvedRefs), string(gatewayv1.RouteReasonResolvedRefs), true, "all references are resolved")
		}
		r.Parents = append(r.Parents, Parent{ref, c})
	}
}

// attach finds the listeners of a Gateway that a reference is about, and which of them take
// the route.
func (d *Decision) attach(r *Route, g *Gateway, ref gatewayv1.ParentReference) ([]Attachment, fault) {
	named := slices.DeleteFunc(slices.Clone(g.Listeners), func(l *Listener) bool {
		return ref.SectionName != nil && *ref.SectionName != "" && *ref.SectionName != l.Spec.Name || ref.Port != nil && *ref.Port != l.Spec.Port
	})
	if len(named) == 0 {
		return nil, faultf(gatewayv1.RouteReasonNoMatchingParent, "the Gateway has no listener of that name or port")
	}
	allowed := slices.DeleteFunc(slices.Clone(named), func(l *Listener) bool { return !d.allows(l, r.Kind.Kind, r.GetNamespace()) })
	if len(allowed) == 0 {
		return nil, faultf(gatewayv1.RouteReasonNotAllowedByListeners, "no listener takes routes of this kind and namespace")
	}
	var list []Attachment
	for _, l := range allowed {
		if hosts := intersection(l.Hostname, r.hosts); len(hosts) > 0 {
			list = append(list, Attachment{l, hosts})
		}
	}
	if len(list) == 0 {
		return nil, faultf(gatewayv1.RouteReasonNoMatchingListenerHostname, "no listener has a host of the route")
	}
	if list = slices.DeleteFunc(list, func(a Attachment) bool { return d.claims[a.Listener].taken(r.Kind, a.Hosts) }); len(list) == 0 {
		return nil, faultf(gatewayv1.RouteReasonNotAllowedByListeners, "a host of the route is that of an older route of the other kind: HTTPRoutes and GRPCRoutes do not share one")
	}
	return list, fault{}
}

// Backend is the port of a Service that a reference of a route means, or why there is none:
// a reason of the condition ResolvedRefs, and words for people.
func (d *Decision) Backend(r *Route, ref gatewayv1.BackendObjectReference) (service types.NamespacedName, port int32, reason, message string) {
	name, f := d.backend(r, ref)
	return name, deref(ref.Port, 0), f.reason, f.message
}

func (d *Decision) backend(r *Route, ref gatewayv1.BackendObjectReference) (types.NamespacedName, fault) {
	name := types.NamespacedName{Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(r.GetNamespace()))), Name: string(ref.Name)}
	if deref(ref.Group, "") != "" || deref(ref.Kind, "Service") != "Service" {
		return name, faultf(gatewayv1.RouteReasonInvalidKind, "backends are Services, not of the kind %s", deref(ref.Kind, "Service"))
	}
	if !d.grants.permits(r.Kind, r.GetNamespace(), schema.GroupKind{Kind: "Service"}, name) {
		return name, faultf(gatewayv1.RouteReasonRefNotPermitted, "no ReferenceGrant permits %ss of the namespace %s to refer to the Service %s", r.Kind.Kind, r.GetNamespace(), name)
	}
	svc := d.in.Service(name)
	if svc == nil {
		return name, faultf(gatewayv1.RouteReasonBackendNotFound, "there is no Service %s", name)
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return name, faultf(gatewayv1.RouteReasonUnsupportedProtocol, "the Service %s is of the type ExternalName, which leads out of the cluster and is not served", name)
	}
	if !slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == deref(ref.Port, 0) && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP)
	}) {
		return name, faultf(gatewayv1.RouteReasonBackendNotFound, "the Service %s has no TCP port %d", name, deref(ref.Port, 0))
	}
	return name, fault{}
}

// references is the first thing that is wrong about the backends of a route.
func (d *Decision) references(r *Route) fault {
	for _, ref := range r.refs {
		if _, f := d.backend(r, ref); f.is() {
			return f
		}
	}
	return fault{}
}
