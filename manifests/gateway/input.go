package gateway

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	// Controller is the controller of the classes that Headway serves.
	Controller = "headway.dev/gateway"
	// Class is the class that every cluster gets.
	Class = "headway"
	// Version is the one of the definitions that Headway brings.
	Version = "v1.6.3"
)

// GroupVersion is the version by which the kinds are read and written.
var GroupVersion = schema.GroupVersion(gatewayv1.GroupVersion)

// The kinds, as they are stored.
var (
	ClassKind     = schema.GroupKind{Group: gatewayv1.GroupName, Kind: "GatewayClass"}
	GatewayKind   = schema.GroupKind{Group: gatewayv1.GroupName, Kind: "Gateway"}
	HTTPRouteKind = schema.GroupKind{Group: gatewayv1.GroupName, Kind: "HTTPRoute"}
	GRPCRouteKind = schema.GroupKind{Group: gatewayv1.GroupName, Kind: "GRPCRoute"}
	GrantKind     = schema.GroupKind{Group: gatewayv1.GroupName, Kind: "ReferenceGrant"}
)

// Input is all that is decided by. What is being deleted counts until it is gone.
type Input struct {
	Classes    []*gatewayv1.GatewayClass
	Gateways   []*gatewayv1.Gateway
	HTTPRoutes []*gatewayv1.HTTPRoute
	GRPCRoutes []*gatewayv1.GRPCRoute
	Grants     []*gatewayv1.ReferenceGrant
	// Namespaces are the labels of all namespaces.
	Namespaces map[string]map[string]string
	// Service returns nil if there is none of that name.
	Service func(types.NamespacedName) *corev1.Service
	// Certificate says what is wrong about a Secret as a certificate, for people; nil: all
	// are taken for good.
	Certificate func(types.NamespacedName) string
	// Taken says who else has a port of the nodes, for people; empty: nobody.
	Taken func(port int32) string
}

// NodePorts are the ports of TCP that a Service has on the nodes.
func NodePorts(svc *corev1.Service) []int32 {
	var list []int32
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP) {
			list = append(list, p.NodePort)
		}
	}
	if p := svc.Spec.HealthCheckNodePort; p != 0 {
		list = append(list, p)
	}
	return list
}

// Taken is Input.Taken for ports of the nodes themselves, by what has them, and for those
// that Services have.
func Taken(own map[int32]string, services map[int32]types.NamespacedName) func(int32) string {
	return func(port int32) string {
		if who := own[port]; who != "" {
			return "that of " + who
		}
		if name, ok := services[port]; ok {
			return "a node port of the Service " + name.String()
		}
		return ""
	}
}

// older orders objects by their age, and those of the same by their names, as the Gateway
// API has it for whatever conflicts.
func older(a, b metav1.Object) int {
	at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return cmp.Or(at.Compare(bt.Time), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

func sorted[T metav1.Object](list []T) []T {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b T) int { return older(a, b) })
	return list
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// grants are the references that ReferenceGrants permit.
type grants map[string][]*gatewayv1.ReferenceGrant // by the namespace that they are in

func newGrants(list []*gatewayv1.ReferenceGrant) grants {
	g := grants{}
	for _, grant := range list {
		g[grant.Namespace] = append(g[grant.Namespace], grant)
	}
	return g
}

// permits reports whether objects of a kind and a namespace may refer to an object.
func (g grants) permits(from schema.GroupKind, namespace string, to schema.GroupKind, object types.NamespacedName) bool {
	return namespace == object.Namespace || slices.ContainsFunc(g[object.Namespace], func(grant *gatewayv1.ReferenceGrant) bool {
		return Permits(grant, from, namespace, to, object.Name)
	})
}

// Permits reports whether a ReferenceGrant permits objects of a kind and a namespace to
// refer to an object of its own namespace.
func Permits(grant *gatewayv1.ReferenceGrant, from schema.GroupKind, namespace string, to schema.GroupKind, name string) bool {
	return slices.ContainsFunc(grant.Spec.From, func(f gatewayv1.ReferenceGrantFrom) bool {
		return string(f.Group) == from.Group && string(f.Kind) == from.Kind && string(f.Namespace) == namespace
	}) && slices.ContainsFunc(grant.Spec.To, func(t gatewayv1.ReferenceGrantTo) bool {
		return string(t.Group) == to.Group && string(t.Kind) == to.Kind && (t.Name == nil || *t.Name == "" || string(*t.Name) == name)
	})
}

// Certificates are the Secrets that a Gateway names for its listeners, whether it may or not.
func Certificates(g *gatewayv1.Gateway) []types.NamespacedName {
	var list []types.NamespacedName
	for i := range g.Spec.Listeners {
		if t := g.Spec.Listeners[i].TLS; t != nil {
			for _, ref := range t.CertificateRefs {
				if isSecret(ref) {
					list = append(list, secretOf(g, ref))
				}
			}
		}
	}
	return list
}

func isSecret(ref gatewayv1.SecretObjectReference) bool {
	return deref(ref.Group, "") == "" && deref(ref.Kind, "Secret") == "Secret"
}

func secretOf(g *gatewayv1.Gateway, ref gatewayv1.SecretObjectReference) types.NamespacedName {
	return types.NamespacedName{Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(g.Namespace))), Name: string(ref.Name)}
}
