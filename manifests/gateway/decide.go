package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Decision is what the objects mean.
type Decision struct {
	// Gateways are those of Headway's own classes, and Routes all routes: the oldest first.
	Gateways []*Gateway
	Routes   []*Route
	// Abandoned are Gateways that are not served any more, as their class is gone or is not
	// accepted, and whose statuses have to say so.
	Abandoned []*Gateway

	in     Input
	grants grants
	byName map[types.NamespacedName]*Gateway
	claims map[*Listener]claims
}

// Decide finds out what the objects mean. It keeps them, and changes none.
func Decide(in Input) *Decision {
	d := &Decision{in: in, grants: newGrants(in.Grants), byName: map[types.NamespacedName]*Gateway{}, claims: map[*Listener]claims{}}
	own := map[string]bool{}
	for _, c := range in.Classes {
		own[c.Name] = Own(c) && !classFault(c).is()
	}
	for _, g := range sorted(in.Gateways) {
		if own[string(g.Spec.GatewayClassName)] {
			out := d.newGateway(g)
			d.Gateways = append(d.Gateways, out)
			d.byName[types.NamespacedName{Namespace: g.Namespace, Name: g.Name}] = out
		} else if f := abandoned(g, in.Classes); f.is() {
			out := d.newGateway(g)
			out.fault = f
			d.Abandoned = append(d.Abandoned, out)
		}
	}
	d.conflicts()
	for _, r := range in.HTTPRoutes {
		d.Routes = append(d.Routes, &Route{Object: r, HTTP: r, Kind: HTTPRouteKind})
	}
	for _, r := range in.GRPCRoutes {
		d.Routes = append(d.Routes, &Route{Object: r, GRPC: r, Kind: GRPCRouteKind})
	}
	slices.SortStableFunc(d.Routes, func(a, b *Route) int { return cmp.Or(older(a, b), cmp.Compare(b.Kind.Kind, a.Kind.Kind)) })
	for _, r := range d.Routes {
		d.resolve(r)
	}
	return d
}

// servedBy ends the message of Programmed by which a Gateway is known as one that was Headway's:
// nothing else tells that once its class is gone.
const servedBy = " nodes serve it"

// abandoned says why a Gateway is one of Headway's that is not served any more.
func abandoned(g *gatewayv1.Gateway, classes []*gatewayv1.GatewayClass) fault {
	i := slices.IndexFunc(classes, func(c *gatewayv1.GatewayClass) bool { return c.Name == string(g.Spec.GatewayClassName) })
	switch {
	case i >= 0 && Own(classes[i]) && classFault(classes[i]).is():
		return faultf(gatewayv1.GatewayReasonInvalid, "the GatewayClass %s is not accepted", g.Spec.GatewayClassName)
	case i < 0 && slices.ContainsFunc(g.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == string(gatewayv1.GatewayConditionProgrammed) && c.Status == metav1.ConditionTrue && strings.HasSuffix(c.Message, servedBy)
	}):
		return faultf(gatewayv1.GatewayReasonInvalid, "there is no GatewayClass %s", g.Spec.GatewayClassName)
	}
	return fault{}
}

// Own reports whether a class is of Headway's controller.
func Own(c *gatewayv1.GatewayClass) bool { return c.Spec.ControllerName == Controller }

func classFault(c *gatewayv1.GatewayClass) fault {
	if c.Spec.ParametersRef != nil {
		return faultf(gatewayv1.GatewayClassReasonInvalidParameters, "there are no parameters: spec.parametersRef has to be empty")
	}
	return fault{}
}

// ClassConditions are those of a class of Headway's own. version is that of the definition of
// Gateways.
func ClassConditions(c *gatewayv1.GatewayClass, version string) []metav1.Condition {
	var list conditions
	if f := classFault(c); f.is() {
		list.set(c.Generation, string(gatewayv1.GatewayClassConditionStatusAccepted), f.reason, false, "%s", f.message)
	} else {
		list.set(c.Generation, string(gatewayv1.GatewayClassConditionStatusAccepted), string(gatewayv1.GatewayClassReasonAccepted), true, "Gateways of the class are served by the nodes")
	}
	if version == Version {
		list.set(c.Generation, string(gatewayv1.GatewayClassConditionStatusSupportedVersion), string(gatewayv1.GatewayClassReasonSupportedVersion), true, "the definitions are of the version %s", version)
	} else {
		list.set(c.Generation, string(gatewayv1.GatewayClassConditionStatusSupportedVersion), string(gatewayv1.GatewayClassReasonUnsupportedVersion), false, "the definitions are of the version %q; what they have is served as in %s", version, Version)
	}
	return list
}

// StatusOf is the status of a Gateway that nodes with those addresses serve, without the
// times of conditions.
func StatusOf(g *Gateway, addresses []string) gatewayv1.GatewayStatus {
	status := gatewayv1.GatewayStatus{}
	valid := 0
	var conflicted []string
	for _, l := range g.Listeners {
		if l.Served() && !l.references.is() {
			valid++
		}
		if l.conflict.is() {
			conflicted = append(conflicted, string(l.Spec.Name))
		}
		status.Listeners = append(status.Listeners, l.status(len(addresses) > 0))
	}
	programmed := slices.ContainsFunc(g.Listeners, (*Listener).Served)
	var list conditions
	accepted := func(reason gatewayv1.GatewayConditionReason, ok bool, format string, args ...any) {
		list.set(g.Generation, string(gatewayv1.GatewayConditionAccepted), string(reason), ok, format, args...)
	}
	switch {
	case g.fault.is():
		accepted(gatewayv1.GatewayConditionReason(g.fault.reason), false, "%s", g.fault.message)
	case valid == len(g.Listeners):
		accepted(gatewayv1.GatewayReasonAccepted, true, "the Gateway is served")
	case len(conflicted) > 0:
		accepted(gatewayv1.GatewayReasonListenersNotValid, programmed, "%d of %d listeners are valid, and these are in conflict with others: %s", valid, len(g.Listeners), strings.Join(conflicted, ", "))
	default:
		accepted(gatewayv1.GatewayReasonListenersNotValid, programmed, "%d of %d listeners are valid; their conditions tell more", valid, len(g.Listeners))
	}
	done := func(reason gatewayv1.GatewayConditionReason, ok bool, format string, args ...any) {
		list.set(g.Generation, string(gatewayv1.GatewayConditionProgrammed), string(reason), ok, format, args...)
	}
	switch {
	case g.fault.is() || !programmed:
		done(gatewayv1.GatewayReasonInvalid, false, "no listener is served")
	case len(addresses) == 0:
		done(gatewayv1.GatewayReasonAddressNotAssigned, false, "no node is ready that serves Gateways")
	default:
		done(gatewayv1.GatewayReasonProgrammed, true, "%d%s", len(addresses), servedBy)
		typ := gatewayv1.IPAddressType
		for _, a := range addresses[:min(len(addresses), mostAddresses)] {
			status.Addresses = append(status.Addresses, gatewayv1.GatewayStatusAddress{Type: &typ, Value: a})
		}
	}
	status.Conditions = list
	return status
}

// mostAddresses is how many the definition of Gateways lets a status have.
const mostAddresses = 16

func (l *Listener) status(nodes bool) gatewayv1.ListenerStatus {
	var list conditions
	generation := l.Gateway.Generation
	put := func(typ gatewayv1.ListenerConditionType, reason string, ok bool, message string) {
		list.set(generation, string(typ), reason, ok, "%s", message)
	}
	switch {
	case l.accepted.is():
		put(gatewayv1.ListenerConditionAccepted, l.accepted.reason, false, l.accepted.message)
	case l.conflict.is():
		put(gatewayv1.ListenerConditionAccepted, l.conflict.reason, false, l.conflict.message)
	default:
		put(gatewayv1.ListenerConditionAccepted, string(gatewayv1.ListenerReasonAccepted), true, "the listener is accepted")
	}
	if l.conflict.is() {
		put(gatewayv1.ListenerConditionConflicted, l.conflict.reason, true, l.conflict.message)
	} else {
		put(gatewayv1.ListenerConditionConflicted, string(gatewayv1.ListenerReasonNoConflicts), false, "no other listener is in its way")
	}
	if l.references.is() {
		put(gatewayv1.ListenerConditionResolvedRefs, l.references.reason, false, l.references.message)
	} else {
		put(gatewayv1.ListenerConditionResolvedRefs, string(gatewayv1.ListenerReasonResolvedRefs), true, "all references are resolved")
	}
	switch {
	case !l.Served():
		put(gatewayv1.ListenerConditionProgrammed, string(gatewayv1.ListenerReasonInvalid), false, "the listener is not served")
	case !nodes:
		put(gatewayv1.ListenerConditionProgrammed, string(gatewayv1.ListenerReasonPending), false, "no node is ready that serves Gateways")
	default:
		put(gatewayv1.ListenerConditionProgrammed, string(gatewayv1.ListenerReasonProgrammed), true, "the nodes serve it")
	}
	return gatewayv1.ListenerStatus{Name: l.Spec.Name, SupportedKinds: l.kinds, AttachedRoutes: l.Attached, Conditions: list}
}

// ParentStatuses are the statuses that a route shall have: what others wrote stays, and of
// Headway's there are those of its parents.
func (r *Route) ParentStatuses() []gatewayv1.RouteParentStatus {
	list := []gatewayv1.RouteParentStatus{}
	for _, s := range r.existing {
		if s.ControllerName != Controller {
			list = append(list, s)
		}
	}
	for _, p := range r.Parents {
		if len(list) < mostParents {
			list = append(list, gatewayv1.RouteParentStatus{ParentRef: p.Ref, ControllerName: Controller, Conditions: p.Conditions})
		}
	}
	return list
}

// mostParents is how many the definitions of routes let a status have.
const mostParents = 32

// Name is for messages and logs.
func (r *Route) Name() string {
	return fmt.Sprintf("%s %s/%s", r.Kind.Kind, r.GetNamespace(), r.GetName())
}
