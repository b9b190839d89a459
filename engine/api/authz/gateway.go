package authz

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"headway.dev/manifests/gateway"
	"headway.dev/manifests/model/object"
)

func ofGateway(e object.Event) bool {
	switch e.Key.GroupKind {
	case gateway.ClassKind, gateway.GatewayKind, gateway.GrantKind:
		return true
	}
	return false
}

// gatewayCertificates are the Secrets that Gateways name. The zero value is empty.
type gatewayCertificates struct {
	own map[string]bool // the classes of Headway's controller
	// by are the Gateways that name a Secret, with their classes.
	by       map[types.NamespacedName]map[types.NamespacedName]string
	gateways map[types.NamespacedName][]types.NamespacedName // what they name
	// grants are by their namespace and name.
	grants map[string]map[string]*gatewayv1.ReferenceGrant
}

func (c *gatewayCertificates) observe(e object.Event) {
	if c.own == nil {
		c.own, c.by = map[string]bool{}, map[types.NamespacedName]map[types.NamespacedName]string{}
		c.gateways, c.grants = map[types.NamespacedName][]types.NamespacedName{}, map[string]map[string]*gatewayv1.ReferenceGrant{}
	}
	name := types.NamespacedName{Namespace: e.Key.Namespace, Name: e.Key.Name}
	switch e.Key.GroupKind {
	case gateway.ClassKind:
		class := custom[gatewayv1.GatewayClass](e)
		delete(c.own, name.Name)
		if class != nil && gateway.Own(class) {
			c.own[name.Name] = true
		}
	case gateway.GatewayKind:
		for _, secret := range c.gateways[name] {
			if delete(c.by[secret], name); len(c.by[secret]) == 0 {
				delete(c.by, secret)
			}
		}
		delete(c.gateways, name)
		if g := custom[gatewayv1.Gateway](e); g != nil {
			c.gateways[name] = gateway.Certificates(g)
			for _, secret := range c.gateways[name] {
				if c.by[secret] == nil {
					c.by[secret] = map[types.NamespacedName]string{}
				}
				c.by[secret][name] = string(g.Spec.GatewayClassName)
			}
		}
	case gateway.GrantKind:
		if delete(c.grants[name.Namespace], name.Name); len(c.grants[name.Namespace]) == 0 {
			delete(c.grants, name.Namespace)
		}
		if g := custom[gatewayv1.ReferenceGrant](e); g != nil {
			if c.grants[name.Namespace] == nil {
				c.grants[name.Namespace] = map[string]*gatewayv1.ReferenceGrant{}
			}
			c.grants[name.Namespace][name.Name] = g
		}
	}
}

// custom is what an event says that an object is now; nil: it is gone, or cannot be read.
func custom[T any](e object.Event) *T {
	u, ok := e.Object.(*unstructured.Unstructured)
	if !ok || e.Type == object.Deleted {
		return nil
	}
	out := new(T)
	if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out) != nil {
		return nil
	}
	return out
}

// named reports whether a Gateway of Headway's own controller names a Secret: one of its
// namespace, or of another one that permits it.
func (c *gatewayCertificates) named(secret types.NamespacedName) bool {
	for g, class := range c.by[secret] {
		if !c.own[class] {
			continue
		}
		if g.Namespace == secret.Namespace {
			return true
		}
		grants := make([]*gatewayv1.ReferenceGrant, 0, len(c.grants[secret.Namespace]))
		for _, grant := range c.grants[secret.Namespace] {
			grants = append(grants, grant)
		}
		if slices.ContainsFunc(grants, func(grant *gatewayv1.ReferenceGrant) bool {
			return gateway.Permits(grant, gateway.GatewayKind, g.Namespace, schema.GroupKind{Kind: "Secret"}, secret.Name)
		}) {
			return true
		}
	}
	return false
}
