// Package loadbalancer gives Services of type LoadBalancer addresses: of a pool, each of
// which one node answers for (nodes/announce), or those of the nodes if there is none.
//
// Decide is the pure core. It looks at all such Services together, since they compete
// for addresses and ports; there are few.
package loadbalancer

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodeconfig"
)

const (
	source = "service-controller"
	// Annotation names the node that answers for a Service's address, or EveryNode.
	Annotation = nodeconfig.AnnouncedBy
	// Class is the loadBalancerClass of Services that are certainly for this controller.
	Class = "headway.dev/load-balancer"
	// finalizer keeps a Service until its address is given back, as in Kubernetes.
	finalizer = "service.kubernetes.io/load-balancer-cleanup"
)

var configMap = schema.GroupKind{Kind: "ConfigMap"}

var key = object.Key{GroupKind: configMap, Namespace: metav1.NamespaceSystem, Name: Settings}

type controller struct {
	control.Env
	taken map[Port]string
	// pool is the last one without a fault.
	pool []Range
	// told are the problems that events have told of.
	told map[types.NamespacedName]string
}

// New makes the controller. Services get no port on the nodes' addresses that is the
// API's.
func New(env control.Env, apiServer netip.AddrPort) control.Controller {
	c := &controller{Env: env, told: map[types.NamespacedName]string{}, taken: map[Port]string{
		{corev1.ProtocolTCP, int32(apiServer.Port())}: "the API",
		{corev1.ProtocolUDP, 4789}:                    "the pods' network between nodes",
	}}
	return control.Controller{Name: "service-lb-controller", Workers: 1, Keys: c.keys, Reconcile: c.reconcile}
}

// wants reports whether a Service gets its address here.
func wants(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.DeletionTimestamp == nil && ptr.Deref(svc.Spec.LoadBalancerClass, Class) == Class
}

func ours(svc *corev1.Service) bool { _, is := svc.Annotations[Annotation]; return is }

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case configMap:
		if ev.Key == key {
			add(key)
		}
	case control.Service:
		for _, obj := range []object.Object{ev.Old, ev.Object} {
			if svc, ok := obj.(*corev1.Service); ok && (wants(svc) || ours(svc)) {
				add(key)
			}
		}
	case control.Node:
		before, _ := ev.Old.(*corev1.Node)
		after, _ := ev.Object.(*corev1.Node)
		if ev.Type == object.Modified && before != nil && after != nil && same(nodeOf(before), nodeOf(after)) {
			return
		}
		add(key)
	case control.EndpointSlice:
		svc := control.Get[corev1.Service](c.Store, object.Key{GroupKind: control.Service, Namespace: ev.Key.Namespace, Name: ev.Object.GetLabels()[discoveryv1.LabelServiceName]})
		if svc != nil && wants(svc) && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			add(key)
		}
	}
}

func same(a, b Node) bool { return a.Usable == b.Usable && slices.Equal(a.IPs, b.IPs) }

func nodeOf(n *corev1.Node) Node {
	out := Node{Name: n.Name}
	if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; !excluded && n.DeletionTimestamp == nil {
		out.Usable = slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	}
	for _, typ := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == typ && ip.Is4() {
				out.IPs = append(out.IPs, ip)
			}
		}
		if len(out.IPs) > 0 {
			break // clients come from outside: external addresses are for them
		}
	}
	return out
}

func (c *controller) reconcile(ctx context.Context, _ object.Key) (time.Duration, error) {
	pool, known := c.readPool()
	if !known {
		return 0, nil // what Services have, they keep
	}
	in := Input{Pool: pool, Local: map[types.NamespacedName]map[string]bool{}, Taken: c.taken}
	nodes, _ := c.Store.List(control.Node, "")
	for _, obj := range nodes {
		in.Nodes = append(in.Nodes, nodeOf(obj.(*corev1.Node)))
	}
	var former []*corev1.Service
	services, _ := c.Store.List(control.Service, "")
	for _, obj := range services {
		switch svc := obj.(*corev1.Service); {
		case wants(svc):
			in.Services = append(in.Services, svc)
			if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
				in.Local[nameOf(svc)] = c.local(svc)
			}
		case ours(svc):
			former = append(former, svc)
		}
	}
	outcomes := Decide(in)
	var changes [][]change.Change
	for _, svc := range in.Services {
		got := outcomes[nameOf(svc)]
		c.tell(svc, got)
		changes = append(changes, write(svc, got)...)
	}
	for _, svc := range former {
		changes = append(changes, release(svc)...)
	}
	maps.DeleteFunc(c.told, func(name types.NamespacedName, _ string) bool { _, there := outcomes[name]; return !there })
	// One Service that cannot be written does not keep the others from it.
	for _, err := range c.CommitParts(ctx, changes) {
		if err != nil {
			return 0, fmt.Errorf("write addresses of load balancers: %w", err)
		}
	}
	return 0, nil
}

// readPool returns the pool. It is not known if it has a fault, and had one already
// when the server started.
func (c *controller) readPool() (pool []Range, known bool) {
	settings := control.Get[corev1.ConfigMap](c.Store, key)
	if settings == nil {
		c.pool = nil
		return nil, true
	}
	pool, err := ParsePool(settings.Data[Pool])
	if err != nil {
		c.Events.Warning(source, settings, "InvalidLoadBalancerPool", "data.%s: %v; the pool stays as it was", Pool, err)
		c.Log.Warn("the pool of load balancers' addresses has a fault; it stays as it was", slog.Any("err", err))
		return c.pool, len(c.pool) > 0
	}
	c.pool = pool
	return pool, true
}

// local are the nodes with an endpoint that is ready.
func (c *controller) local(svc *corev1.Service) map[string]bool {
	out := map[string]bool{}
	list, _ := c.Store.List(control.EndpointSlice, svc.Namespace)
	for _, obj := range list {
		if obj.GetLabels()[discoveryv1.LabelServiceName] != svc.Name {
			continue
		}
		for _, e := range obj.(*discoveryv1.EndpointSlice).Endpoints {
			if e.NodeName != nil && ptr.Deref(e.Conditions.Ready, true) {
				out[*e.NodeName] = true
			}
		}
	}
	return out
}

func (c *controller) tell(svc *corev1.Service, got Outcome) {
	name := nameOf(svc)
	if c.told[name] == got.Problem {
		return
	}
	if c.told[name] = got.Problem; got.Problem != "" {
		c.Events.Warning(source, svc, "SyncLoadBalancerFailed", "Error syncing load balancer: %s", got.Problem)
		return
	}
	c.Events.Normal(source, svc, "EnsuredLoadBalancer", "Ensured load balancer")
}

// write is what makes a Service have its outcome: the finalizer before the address.
func write(svc *corev1.Service, got Outcome) [][]change.Change {
	at := object.KeyOf(control.Service, svc)
	var parts []change.Change
	if svc.Annotations[Annotation] != got.By || !ours(svc) || !slices.Contains(svc.Finalizers, finalizer) {
		parts = append(parts, control.Present(change.Patch(at, func(obj object.Object) bool {
			s := obj.(*corev1.Service)
			if s.UID != svc.UID || !wants(s) {
				return false
			}
			if s.Annotations == nil {
				s.Annotations = map[string]string{}
			}
			s.Annotations[Annotation] = got.By
			if !slices.Contains(s.Finalizers, finalizer) {
				s.Finalizers = append(s.Finalizers, finalizer)
			}
			return true
		})))
	}
	var want []corev1.LoadBalancerIngress
	for _, ip := range got.IPs {
		want = append(want, corev1.LoadBalancerIngress{IP: ip.String(), IPMode: ptr.To(corev1.LoadBalancerIPModeVIP)})
	}
	equal := func(a, b corev1.LoadBalancerIngress) bool {
		return a.IP == b.IP && a.Hostname == b.Hostname && ptr.Deref(a.IPMode, "") == ptr.Deref(b.IPMode, "")
	}
	if !slices.EqualFunc(svc.Status.LoadBalancer.Ingress, want, equal) {
		parts = append(parts, control.Present(change.PatchStatus(at, func(obj object.Object) bool {
			s := obj.(*corev1.Service)
			if s.UID != svc.UID || !wants(s) {
				return false
			}
			s.Status.LoadBalancer.Ingress = want
			return true
		})))
	}
	if len(parts) == 0 {
		return nil
	}
	return [][]change.Change{parts}
}

// release takes back what a Service has had, and lets it go.
func release(svc *corev1.Service) [][]change.Change {
	at := object.KeyOf(control.Service, svc)
	var parts []change.Change
	if len(svc.Status.LoadBalancer.Ingress) > 0 {
		parts = append(parts, control.Present(change.PatchStatus(at, func(obj object.Object) bool {
			s := obj.(*corev1.Service)
			if s.UID != svc.UID || wants(s) {
				return false
			}
			s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
			return true
		})))
	}
	return [][]change.Change{append(parts, control.Present(change.Patch(at, func(obj object.Object) bool {
		s := obj.(*corev1.Service)
		if s.UID != svc.UID || wants(s) {
			return false
		}
		delete(s.Annotations, Annotation)
		s.Finalizers = slices.DeleteFunc(s.Finalizers, func(f string) bool { return f == finalizer })
		return true
	})))}
}
