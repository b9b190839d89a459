package authz

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
)

var (
	ingressKind      = schema.GroupKind{Group: networkingv1.GroupName, Kind: "Ingress"}
	ingressClassKind = schema.GroupKind{Group: networkingv1.GroupName, Kind: "IngressClass"}
)

func ofIngress(e object.Event) bool {
	return e.Key.GroupKind == ingressKind || e.Key.GroupKind == ingressClassKind || ofGateway(e)
}

// certificates are the Secrets that Ingresses name. The zero value is empty.
type certificates struct {
	// own are the classes of Headway's controller.
	own map[string]bool
	// named is how often Ingresses of a class name a Secret, by the Secret.
	named    map[types.NamespacedName]map[string]int
	gateways gatewayCertificates
}

func (c *certificates) observe(e object.Event) {
	if c.own == nil {
		c.own, c.named = map[string]bool{}, map[types.NamespacedName]map[string]int{}
	}
	if ofGateway(e) {
		c.gateways.observe(e)
		return
	}
	if e.Key.GroupKind == ingressClassKind {
		class, ok := e.Object.(*networkingv1.IngressClass)
		if ok && e.Type != object.Deleted && class.Spec.Controller == networking.HeadwayController {
			c.own[e.Key.Name] = true
		} else {
			delete(c.own, e.Key.Name)
		}
		return
	}
	// What stays is counted up before it is counted down.
	if e.Type != object.Deleted {
		c.count(e.Object, 1)
	}
	c.count(e.Old, -1)
}

func (c *certificates) count(obj object.Object, n int) {
	i, ok := obj.(*networkingv1.Ingress)
	if !ok || i == nil {
		return
	}
	class := networking.ClassOf(i)
	for _, tls := range i.Spec.TLS {
		if tls.SecretName == "" {
			continue
		}
		name := types.NamespacedName{Namespace: i.Namespace, Name: tls.SecretName}
		if c.named[name] == nil {
			c.named[name] = map[string]int{}
		}
		if c.named[name][class] += n; c.named[name][class] == 0 {
			delete(c.named[name], class)
		}
		if len(c.named[name]) == 0 {
			delete(c.named, name)
		}
	}
}

// Certificate reports whether an Ingress or a Gateway of Headway's own controllers names a
// Secret, and may do so.
func (g *Graph) Certificate(namespace, name string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for class := range g.tls.named[types.NamespacedName{Namespace: namespace, Name: name}] {
		if g.tls.own[class] {
			return true
		}
	}
	return g.tls.gateways.named(types.NamespacedName{Namespace: namespace, Name: name})
}
