package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/loadbalancer"
	"headway.dev/manifests/model/change"
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
