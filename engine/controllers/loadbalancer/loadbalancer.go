// Package loadbalancer gives Services of type LoadBalancer addresses: of a pool, each of
// which one node answers for (nodes/announce), or those of the nodes if there is none.
//
// Decide is the pure core. It looks at all such Services together, since they compete
// for addresses and ports; there are few.
package loadbalancer

import (
	"context"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodeconfig"
)

const (
	// Name is the controller's.
	Name   = "service-lb-controller"
	source = "service-controller"
	// Annotation names the node that answers for a Service's address, or EveryNode.
	Annotation = nodeconfig.AnnouncedBy
	// Class is the loadBalancerClass of Services that are certainly for this controller.
	Class = nodeconfig.BalancerClass
	// finalizer keeps a Service until its address is given back, as in Kubernetes.
	finalizer = "service.kubernetes.io/load-balancer-cleanup"
)

var (
	configMap      = schema.GroupKind{Kind: "ConfigMap"}
	ingresses      = networkingv1.SchemeGroupVersion.WithKind("Ingress").GroupKind()
	ingressClasses = networkingv1.SchemeGroupVersion.WithKind("IngressClass").GroupKind()
)

var key = object.Key{GroupKind: configMap, Namespace: metav1.NamespaceSystem, Name: Settings}

type controller struct {
	control.Env
	// taken are the ports that all nodes need, whoever had them before.
	taken map[Port]string
	// reserved are the ranges of the cluster, of which no pool may be.
	reserved map[string]netip.Prefix
	// pool is the last one without a fault, if there was one since the start (known):
	// that there is none is known, too.
	pool  []Range
	known bool
	// given are the ports of the last decision.
	given map[types.NamespacedName][]Port
	// fault is what the last event of the pool told.
	fault string
	// told are the problems that events have told of.
	told map[types.NamespacedName]string
}

// New makes the controller. Services get no port on the nodes' addresses that is the
// API's, and no pool may be of the reserved ranges, which are by what they are for.
func New(env control.Env, apiServer netip.AddrPort, reserved map[string]netip.Prefix) control.Controller {
	c := &controller{Env: env, reserved: reserved, told: map[types.NamespacedName]string{}, taken: map[Port]string{
		{corev1.ProtocolTCP, 22}:                      "SSH",
		{corev1.ProtocolTCP, int32(apiServer.Port())}: "the API",
		{corev1.ProtocolUDP, 4789}:                    "the pods' network between nodes",
	}}
	return control.Controller{Name: Name, Workers: 1, Keys: c.keys, Reconcile: c.reconcile}
}

// wants reports whether a Service gets its address here.
func wants(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.DeletionTimestamp == nil && !foreign(svc)
}

// foreign reports whether a Service is another controller's.
func foreign(svc *corev1.Service) bool { return ptr.Deref(svc.Spec.LoadBalancerClass, Class) != Class }

func ours(svc *corev1.Service) bool { _, is := svc.Annotations[Annotation]; return is }

// former reports whether a Service that wants nothing has something from here. The
// finalizer is that of other controllers, too.
func former(svc *corev1.Service) bool {
	if wants(svc) || ours(svc) {
		return ours(svc) && !wants(svc)
	}
	return !foreign(svc) && (slices.Contains(svc.Finalizers, finalizer) || len(svc.Status.LoadBalancer.Ingress) > 0)
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case configMap:
		if ev.Key == key {
			add(key)
		}
	case control.Service:
		for _, obj := range []object.Object{ev.Old, ev.Object} {
			if svc, ok := obj.(*corev1.Service); ok && (wants(svc) || former(svc) || hasNodePorts(svc)) {
				add(key)
			}
		}
	case ingresses:
		before, _ := ev.Old.(*networkingv1.Ingress)
		after, _ := ev.Object.(*networkingv1.Ingress)
		if ev.Type != object.Modified || before == nil || after == nil || networking.ClassOf(before) != networking.ClassOf(after) {
			add(key)
		}
	case ingressClasses:
		add(key)
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

func same(a, b Node) bool {
	return a.Usable == b.Usable && a.Ingress == b.Ingress && a.AgentPort == b.AgentPort && slices.Equal(a.IPs, b.IPs)
}

func nodeOf(n *corev1.Node) Node {
	out := Node{Name: n.Name, Ingress: n.Annotations[networking.NodeAnnotation] == "true", AgentPort: n.Status.DaemonEndpoints.KubeletEndpoint.Port}
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
	in := Input{Local: map[types.NamespacedName]map[string]bool{}, Taken: c.taken, Given: c.given}
	nodes, _ := c.Store.List(control.Node, "")
	for _, obj := range nodes {
		in.Nodes = append(in.Nodes, nodeOf(obj.(*corev1.Node)))
	}
	var parts []part
	services, _ := c.Store.List(control.Service, "")
	for _, obj := range services {
		switch svc := obj.(*corev1.Service); {
		case wants(svc):
			in.Services = append(in.Services, svc)
			if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
				in.Local[nameOf(svc)] = c.local(svc)
			}
		case former(svc): // whatever is wrong with the pool
			parts = append(parts, release(svc, former))
		}
	}
	in.Reserved = c.ports(in.Nodes, services)
	problem := ""
	if in.Pool, problem = c.readPool(); problem == "" {
		outcomes := Decide(in)
		c.given = map[types.NamespacedName][]Port{}
		for name, got := range outcomes {
			c.given[name] = got.Ports
		}
		for _, svc := range in.Services {
			parts = append(parts, write(svc, outcomes[nameOf(svc)]))
		}
	} else {
		for _, svc := range in.Services { // what they have, they keep
			if len(svc.Status.LoadBalancer.Ingress) == 0 {
				parts = append(parts, part{svc: svc, problem: problem})
			}
		}
	}
	return 0, c.commit(ctx, parts)
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
