package controllers_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/loadbalancer"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
)

// reached gives a node its address, and says whether it is ready.
func (c *cluster) reached(node, ip string, ready corev1.ConditionStatus) {
	c.t.Helper()
	c.commit(change.PatchStatus(object.Key{GroupKind: control.Node, Name: node}, func(obj object.Object) bool {
		n := obj.(*corev1.Node)
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, Reason: "Test", LastHeartbeatTime: metav1.Now()}}
		return true
	}))
}

func balancerKey(name string) object.Key {
	return object.Key{GroupKind: control.Service, Namespace: "default", Name: name}
}

func newBalancer(name string, port int32, edit ...func(*corev1.Service)) change.Change {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	svc.Spec.Type, svc.Spec.Ports = corev1.ServiceTypeLoadBalancer, []corev1.ServicePort{{Port: port}}
	for _, e := range edit {
		e(svc)
	}
	return change.Create(svc, time.Now())
}

// balanced waits for a Service's addresses, and returns who answers for them.
func (c *cluster) balanced(name, want string) (by string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("%s has the addresses %q", name, want), func() bool {
		svc := control.Get[corev1.Service](c.store, balancerKey(name))
		if svc == nil {
			return false
		}
		var ips []string
		for _, in := range svc.Status.LoadBalancer.Ingress {
			if in.IPMode == nil || *in.IPMode != corev1.LoadBalancerIPModeVIP {
				return false
			}
			ips = append(ips, in.IP)
		}
		by = svc.Annotations[loadbalancer.Annotation]
		return strings.Join(ips, " ") == want
	})
	return by
}

func (c *cluster) balancerEvent(about, text string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("an event about %s says %q", about, text), func() bool {
		events, _ := c.store.List(control.Event, "")
		for _, obj := range events {
			if ev := obj.(*corev1.Event); ev.InvolvedObject.Name == about && strings.Contains(ev.Message, text) {
				return true
			}
		}
		return false
	})
}

func (c *cluster) pool(text string) {
	c.t.Helper()
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: loadbalancer.Settings}, Data: map[string]string{loadbalancer.Pool: text}}
	key := object.KeyOf(control.ConfigMap, settings)
	if c.store.Get(key) == nil {
		c.commit(change.Create(settings, time.Now()))
		return
	}
	c.commit(change.Patch(key, func(obj object.Object) bool { obj.(*corev1.ConfigMap).Data = settings.Data; return true }))
}

// Without a pool Services have the addresses of nodes, of which a port is for one of them.
func TestLoadBalancersOnNodes(t *testing.T) {
	c := start(t, 2)
	c.reached("node-00", "192.0.2.10", corev1.ConditionTrue)
	c.reached("node-01", "192.0.2.11", corev1.ConditionTrue)
	c.commit(newBalancer("web", 80))
	if by := c.balanced("web", "192.0.2.10 192.0.2.11"); by != loadbalancer.EveryNode {
		t.Errorf("answered for by %q", by)
	}
	c.balancerEvent("web", "Ensured load balancer")
	c.commit(newBalancer("second", 80), newBalancer("api", 6443), newBalancer("other", 81, func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/other") }))
	c.balancerEvent("second", "port 80/TCP of the nodes belongs to the Service default/web")
	c.balancerEvent("api", "port 6443/TCP of the nodes is that of the API")

	c.reached("node-01", "192.0.2.11", corev1.ConditionUnknown)
	c.balanced("web", "192.0.2.10")
	c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: "node-00"}, func(obj object.Object) bool {
		obj.SetLabels(map[string]string{corev1.LabelNodeExcludeBalancers: ""})
		return true
	}))
	c.balanced("web", "")
	c.balancerEvent("web", "no node is ready that may serve it")
	c.reached("node-01", "192.0.2.11", corev1.ConditionTrue)
	c.balanced("web", "192.0.2.11")

	c.commit(change.Delete(balancerKey("web"), metav1.DeleteOptions{}, time.Now()))
	c.eventually("web is gone", func() bool { return c.store.Get(balancerKey("web")) == nil })
	c.balanced("second", "192.0.2.11")
	c.commit(change.Patch(balancerKey("second"), func(obj object.Object) bool {
		obj.(*corev1.Service).Spec.Type = corev1.ServiceTypeClusterIP
		return true
	}))
	c.balanced("second", "")
	c.balancerEvent("second", "Deleted load balancer")
	c.eventually("nothing is left of it", func() bool {
		svc := control.Get[corev1.Service](c.store, balancerKey("second"))
		return len(svc.Finalizers)+len(svc.Annotations) == 0
	})
	if other := control.Get[corev1.Service](c.store, balancerKey("other")); len(other.Status.LoadBalancer.Ingress)+len(other.Finalizers)+len(other.Annotations) > 0 {
		t.Errorf("a Service of another class got something: %+v", other)
	}
}

// Addresses of a pool are for one Service each, and one node answers for each.
func TestLoadBalancersOfPool(t *testing.T) {
	c := start(t, 2)
	c.reached("node-00", "192.0.2.10", corev1.ConditionTrue)
	c.reached("node-01", "192.0.2.11", corev1.ConditionTrue)
	c.pool("192.0.2.10-192.0.2.11, 192.0.2.240-192.0.2.241") // the first two are the nodes' own
	c.commit(newBalancer("wish", 80, func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.241" }))
	c.balanced("wish", "192.0.2.241")
	c.commit(newBalancer("any", 80))
	by := c.balanced("any", "192.0.2.240")
	c.commit(newBalancer("none", 80))
	c.balancerEvent("none", "all addresses of the pool are taken")

	// It moves when its node goes, and stays where it is when that comes back.
	other := map[string]string{"node-00": "node-01", "node-01": "node-00"}
	ips := map[string]string{"node-00": "192.0.2.10", "node-01": "192.0.2.11"}
	if other[by] == "" {
		t.Fatalf("answered for by %q", by)
	}
	c.reached(by, ips[by], corev1.ConditionUnknown)
	c.eventually("the other node answers for it", func() bool { return c.balanced("any", "192.0.2.240") == other[by] })
	c.reached(by, ips[by], corev1.ConditionTrue)

	// A fault changes nothing; then the pool is another one.
	c.pool("192.0.2.240-192.0.2.2")
	c.balancerEvent(loadbalancer.Settings, "the last address is before the first")
	if now := c.balanced("any", "192.0.2.240"); now != other[by] {
		t.Errorf("it moved to %s without need", now)
	}
	c.pool("192.0.2.240-192.0.2.247")
	c.balanced("none", "192.0.2.242")
	c.balanced("wish", "192.0.2.241")
	c.commit(change.Delete(balancerKey("wish"), metav1.DeleteOptions{}, time.Now()))
	c.commit(newBalancer("next", 80, func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.241" }))
	c.balanced("next", "192.0.2.241")

	// With the policy Local, a node with an endpoint answers.
	local := newBalancer("local", 80, func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	c.commit(local)
	c.balanced("local", "192.0.2.243")
	for _, node := range []string{"node-00", "node-01"} {
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "local-1", Labels: map[string]string{discoveryv1.LabelServiceName: "local"}}, AddressType: discoveryv1.AddressTypeIPv4}
		slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.244.9.9"}, NodeName: &node}}
		if key := object.KeyOf(control.EndpointSlice, slice); c.store.Get(key) == nil {
			c.commit(change.Create(slice, time.Now()))
		} else {
			c.commit(change.Patch(key, func(obj object.Object) bool {
				obj.(*discoveryv1.EndpointSlice).Endpoints = slice.Endpoints
				return true
			}))
		}
		c.eventually("it is answered for by "+node, func() bool { return c.balanced("local", "192.0.2.243") == node })
	}
}

// released waits until a Service has nothing of the controller's.
func (c *cluster) released(name string) {
	c.t.Helper()
	c.eventually(name+" is released", func() bool {
		svc := control.Get[corev1.Service](c.store, balancerKey(name))
		return svc == nil || len(svc.Finalizers)+len(svc.Annotations)+len(svc.Status.LoadBalancer.Ingress) == 0
	})
}

// balancerWithAddress makes a Service that has an address.
func balancerWithAddress(name string, edit ...func(*corev1.Service)) []change.Change {
	return []change.Change{newBalancer(name, 80, edit...), change.PatchStatus(balancerKey(name), func(obj object.Object) bool {
		obj.(*corev1.Service).Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.240", IPMode: new(corev1.LoadBalancerIPModeVIP)}}
		return true
	})}
}

// With a pool that has had a fault since the start, Services are told so, keep what they
// have, and go when they are deleted.
func TestLoadBalancersOfFaultyPool(t *testing.T) {
	const finalizer = "service.kubernetes.io/load-balancer-cleanup"
	had := func(name string, edit func(*corev1.Service)) []change.Change {
		return balancerWithAddress(name, func(s *corev1.Service) { s.Finalizers = []string{finalizer}; edit(s) })
	}
	c := start(t, 0, func(cfg *controllers.Config) {
		cfg.Join.Nodes.ServiceCIDR = netip.MustParsePrefix("10.96.0.0/16")
		var namespaces []change.Change
		for _, name := range []string{"default", metav1.NamespaceSystem} {
			namespaces = append(namespaces, change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, time.Now()))
		}
		for _, changes := range [][]change.Change{
			namespaces,
			{change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: loadbalancer.Settings}, Data: map[string]string{"Pool": "192.0.2.240"}}, time.Now())},
			had("keeps", func(*corev1.Service) {}),
			had("changed", func(*corev1.Service) {}),
			{change.Patch(balancerKey("changed"), func(obj object.Object) bool {
				obj.(*corev1.Service).Spec.Type = corev1.ServiceTypeClusterIP
				return true
			})},
			had("foreign", func(s *corev1.Service) {
				s.Spec.LoadBalancerClass, s.Annotations = new("example.com/other"), map[string]string{loadbalancer.Annotation: "node-00"}
			}),
			had("others", func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/other") }),
			{newBalancer("waits", 80)},
		} {
			if _, err := cfg.Store.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
				t.Fatal(err)
			}
		}
	})
	c.released("changed")
	c.balancerEvent("waits", "data.pool is missing: delete the ConfigMap if there is to be no pool")
	c.balancerEvent(loadbalancer.Settings, "no addresses are given until it is mended")
	c.balanced("keeps", "192.0.2.240")
	c.eventually("the other controller's Service has only its own", func() bool {
		svc := control.Get[corev1.Service](c.store, balancerKey("foreign"))
		return len(svc.Finalizers)+len(svc.Annotations) == 0 && len(svc.Status.LoadBalancer.Ingress) == 1
	})
	if svc := control.Get[corev1.Service](c.store, balancerKey("others")); len(svc.Finalizers) != 1 {
		t.Error("the finalizer of another controller is gone")
	}
	c.commit(change.Delete(balancerKey("keeps"), metav1.DeleteOptions{}, time.Now()))
	c.eventually("keeps is gone", func() bool { return c.store.Get(balancerKey("keeps")) == nil })
	for text, fault := range map[string]string{
		" ,":                    "data.pool is empty",
		"10.244.3.1":            "overlaps the range of pods, 10.244.0.0/16",
		"10.95.255.1-10.97.0.0": "overlaps the range of Services, 10.96.0.0/16",
	} {
		c.pool(text)
		c.balancerEvent(loadbalancer.Settings, fault)
	}
	c.pool("192.0.2.241")
	c.balanced("waits", "192.0.2.241")
	// A fault that comes later changes nothing, and no pool is one only without the ConfigMap.
	c.pool("")
	c.balancerEvent(loadbalancer.Settings, "data.pool is empty: delete the ConfigMap if there is to be no pool; the pool stays as it was")
	c.balanced("waits", "192.0.2.241")
	c.commit(change.Delete(object.Key{GroupKind: control.ConfigMap, Namespace: metav1.NamespaceSystem, Name: loadbalancer.Settings}, metav1.DeleteOptions{}, time.Now()))
	c.balanced("waits", "")
	c.balancerEvent("waits", "no node is ready")
}

// Ports that nodes need are those of no Service: of agents, of node ports, and, while there
// is an Ingress, of the proxy that serves it.
func TestLoadBalancersLeaveNodesTheirPorts(t *testing.T) {
	c := start(t, 1)
	c.reached("node-00", "192.0.2.10", corev1.ConditionTrue)
	node := object.Key{GroupKind: control.Node, Name: "node-00"}
	c.commit(change.PatchStatus(node, func(obj object.Object) bool {
		obj.(*corev1.Node).Status.DaemonEndpoints.KubeletEndpoint.Port = 10250
		return true
	}), change.Patch(node, func(obj object.Object) bool {
		obj.SetAnnotations(map[string]string{networking.NodeAnnotation: "true"})
		return true
	}))
	c.commit(newBalancer("web", 80))
	c.balanced("web", "192.0.2.10")
	if in := control.Get[corev1.Service](c.store, balancerKey("web")).Status.LoadBalancer.Ingress[0]; len(in.Ports) != 1 || in.Ports[0].Port != 80 || in.Ports[0].Protocol != corev1.ProtocolTCP {
		t.Errorf("its ports are %+v", in.Ports)
	}
	c.eventually("there is a class of Ingresses that nodes serve", func() bool {
		return c.store.Get(object.Key{GroupKind: networkingv1.SchemeGroupVersion.WithKind("IngressClass").GroupKind(), Name: networking.HeadwayClass}) != nil
	})
	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop"}}
	ingress.Spec.IngressClassName = new(networking.HeadwayClass)
	ingress.Spec.DefaultBackend = &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "shop", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	c.commit(change.Create(ingress, time.Now()))
	c.commit(newBalancer("tls", 443), newBalancer("ssh", 22), newBalancer("agent", 10250),
		newBalancer("owner", 81, func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30081 }))
	c.balancerEvent("tls", "port 443/TCP of the nodes is that of the Ingresses, such as default/shop")
	c.balancerEvent("ssh", "port 22/TCP of the nodes is that of SSH")
	c.balancerEvent("agent", "port 10250/TCP of the nodes is that of the agent of the node node-00")
	c.balanced("owner", "192.0.2.10")
	c.commit(newBalancer("thief", 30081))
	c.balancerEvent("thief", "port 30081/TCP of the nodes is that of the node port of the Service default/owner")
	c.balanced("web", "192.0.2.10") // it was there before the Ingress
	c.commit(change.Delete(object.KeyOf(networkingv1.SchemeGroupVersion.WithKind("Ingress").GroupKind(), ingress), metav1.DeleteOptions{}, time.Now()))
	c.balanced("tls", "192.0.2.10")
}

// Switched off, the controller leaves nothing behind that keeps Services.
func TestLoadBalancersSwitchedOff(t *testing.T) {
	c := start(t, 1, func(cfg *controllers.Config) { cfg.Enabled = []string{"*", "-service-lb-controller"} })
	marked := func(s *corev1.Service) {
		s.Annotations, s.Finalizers = map[string]string{loadbalancer.Annotation: "node-00"}, []string{"service.kubernetes.io/load-balancer-cleanup"}
	}
	c.commit(balancerWithAddress("other", marked, func(s *corev1.Service) { s.Annotations = nil })...)
	c.commit(balancerWithAddress("had", marked)...)
	c.released("had")
	if svc := control.Get[corev1.Service](c.store, balancerKey("other")); len(svc.Finalizers) != 1 || len(svc.Status.LoadBalancer.Ingress) != 1 {
		t.Errorf("what another controller gives a Service is gone: %+v", svc)
	}
}
