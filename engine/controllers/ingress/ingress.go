// Package ingress tells in the status of Ingresses at which addresses they are served: those
// of the nodes that are ready and run the proxy (nodes/ingress).
package ingress

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
)

var (
	ingresses = networkingv1.SchemeGroupVersion.WithKind("Ingress").GroupKind()
	classes   = networkingv1.SchemeGroupVersion.WithKind("IngressClass").GroupKind()
	// all is the key that stands for all Ingresses.
	all = object.Key{}
)

type controller struct {
	control.Env

	mu sync.Mutex
	// written are the addresses that this controller gave Ingresses, or found as it would
	// have given them. Only by them it knows what is its own once the class is another's,
	// whose controller may write the same.
	written map[object.Key][]networkingv1.IngressLoadBalancerIngress
}

// New makes the controller.
func New(env control.Env) control.Controller {
	c := &controller{Env: env, written: map[object.Key][]networkingv1.IngressLoadBalancerIngress{}}
	return control.Controller{
		Name: "ingress-status-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			switch ev.Key.GroupKind {
			case ingresses:
				add(ev.Key)
			case classes:
				add(all)
			case control.Node:
				// Most changes of a node are about something else.
				if ev.Type == object.Deleted || Address(ev.Old) != Address(ev.Object) {
					add(all)
				}
			}
		},
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) { return 0, c.reconcile(ctx, key) },
	}
}

func (c *controller) reconcile(ctx context.Context, key object.Key) error {
	var list []object.Object
	if key == all {
		list, _ = c.Store.List(ingresses, "")
	} else if obj := c.Store.Get(key); obj != nil {
		list = []object.Object{obj}
	} else {
		c.forget(key)
	}
	if len(list) == 0 {
		return nil
	}
	nodes, _ := c.Store.List(control.Node, "")
	served := addresses(nodes)
	var changes []change.Change
	dropped := map[object.Key][]networkingv1.IngressLoadBalancerIngress{}
	for _, obj := range list {
		i, ok := obj.(*networkingv1.Ingress)
		if !ok {
			continue
		}
		own, want, key := c.own(i), served, object.KeyOf(ingresses, i)
		switch {
		case own:
			c.remember(key, want)
		default:
			// Forgotten at once, so that what another one writes from now on stays.
			given := c.forget(key)
			if len(given) == 0 || !slices.EqualFunc(i.Status.LoadBalancer.Ingress, given, same) {
				continue
			}
			want, dropped[key] = nil, given
		}
		if slices.EqualFunc(i.Status.LoadBalancer.Ingress, want, same) {
			continue
		}
		changes = append(changes, control.Present(change.PatchStatus(key, func(obj object.Object) bool {
			now, ok := obj.(*networkingv1.Ingress)
			if !ok || now.UID != i.UID || c.own(now) != own || !own && !slices.EqualFunc(now.Status.LoadBalancer.Ingress, dropped[key], same) {
				return false
			}
			now.Status.LoadBalancer.Ingress = slices.Clone(want)
			return true
		})))
	}
	if len(changes) == 0 {
		return nil
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		for key, given := range dropped {
			c.remember(key, given)
		}
		return fmt.Errorf("tell at which addresses ingresses are served: %w", err)
	}
	return nil
}

func (c *controller) remember(key object.Key, addresses []networkingv1.IngressLoadBalancerIngress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written[key] = addresses
}

// forget returns what was remembered.
func (c *controller) forget(key object.Key) []networkingv1.IngressLoadBalancerIngress {
	c.mu.Lock()
	defer c.mu.Unlock()
	given := c.written[key]
	delete(c.written, key)
	return given
}

// own reports whether an Ingress is of Headway's own controller.
func (c *controller) own(i *networkingv1.Ingress) bool {
	class, ok := c.Store.Get(object.Key{GroupKind: classes, Name: networking.ClassOf(i)}).(*networkingv1.IngressClass)
	return ok && class != nil && class.Spec.Controller == networking.HeadwayController
}

func same(a, b networkingv1.IngressLoadBalancerIngress) bool {
	return a.IP == b.IP && a.Hostname == b.Hostname && len(a.Ports) == len(b.Ports)
}

// addresses are those of the nodes that serve Ingresses.
func addresses(nodes []object.Object) []networkingv1.IngressLoadBalancerIngress {
	var list []networkingv1.IngressLoadBalancerIngress
	for _, ip := range Addresses(nodes) {
		list = append(list, networkingv1.IngressLoadBalancerIngress{IP: ip})
	}
	return list
}

// Addresses are those of the nodes that run the proxy, sorted.
func Addresses(nodes []object.Object) []string {
	var ips []string
	for _, obj := range nodes {
		if a := Address(obj); a != "" {
			ips = append(ips, a)
		}
	}
	slices.Sort(ips)
	return slices.Compact(ips)
}

// Address is where a node serves Ingresses and Gateways: its external address, else its internal one;
// empty if it serves none at present.
func Address(obj object.Object) string {
	node, ok := obj.(*corev1.Node)
	if !ok || node == nil || node.DeletionTimestamp != nil || node.Annotations[networking.NodeAnnotation] != "true" {
		return ""
	}
	if !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}) {
		return ""
	}
	internal := ""
	for _, a := range node.Status.Addresses {
		switch {
		case a.Type == corev1.NodeExternalIP:
			return a.Address
		case a.Type == corev1.NodeInternalIP && internal == "":
			internal = a.Address
		}
	}
	return internal
}
