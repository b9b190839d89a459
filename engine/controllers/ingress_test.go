package controllers_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
)

// The status of an Ingress has the addresses of the nodes that serve it at present; one
// of another controller is left alone. The class is made once.
func TestIngressStatus(t *testing.T) {
	c := start(t, 0)
	ingresses := networkingv1.SchemeGroupVersion.WithKind("Ingress").GroupKind()
	class := object.Key{GroupKind: networkingv1.SchemeGroupVersion.WithKind("IngressClass").GroupKind(), Name: networking.HeadwayClass}
	c.eventually("the class", func() bool { return c.store.Get(class) != nil })
	node := func(name, ip string, serves string, ready corev1.ConditionStatus) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{networking.NodeAnnotation: serves}}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}
		return n
	}
	ingress := func(name, class string) *networkingv1.Ingress {
		return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: networkingv1.IngressSpec{
			IngressClassName: &class, DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}},
		}}
	}
	now := time.Now()
	c.commit(change.Create(ingress("web", networking.HeadwayClass), now), change.Create(ingress("foreign", "other"), now),
		change.Create(node("n1", "192.0.2.1", "true", corev1.ConditionTrue), now), change.Create(node("n2", "192.0.2.2", "false", corev1.ConditionTrue), now))
	served := func(name string, want ...string) {
		t.Helper()
		c.eventually(name+" is served at other addresses", func() bool {
			i := control.Get[networkingv1.Ingress](c.store, object.Key{GroupKind: ingresses, Namespace: "default", Name: name})
			var got []string
			for _, in := range i.Status.LoadBalancer.Ingress {
				got = append(got, in.IP)
			}
			return slices.Equal(got, want)
		})
	}
	status := func(name string, edit func(*corev1.Node)) {
		t.Helper()
		c.commit(change.PatchStatus(object.Key{GroupKind: control.Node, Name: name}, func(obj object.Object) bool { edit(obj.(*corev1.Node)); return true }))
	}
	served("web", "192.0.2.1")
	c.commit(change.Create(node("n3", "192.0.2.3", "true", corev1.ConditionTrue), now))
	served("web", "192.0.2.1", "192.0.2.3")
	status("n3", func(n *corev1.Node) {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "198.51.100.3"})
	})
	served("web", "192.0.2.1", "198.51.100.3")
	status("n1", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown })
	served("web", "198.51.100.3")
	c.commit(change.Create(ingress("late", networking.HeadwayClass), now))
	served("late", "198.51.100.3")
	served("foreign")
	// What goes to another controller's class has no addresses of ours any more; what that
	// one writes stays, also if it is the same.
	c.commit(change.Patch(object.Key{GroupKind: ingresses, Namespace: "default", Name: "late"}, func(obj object.Object) bool {
		obj.(*networkingv1.Ingress).Spec.IngressClassName = new("other")
		return true
	}))
	served("late")
	theirs := func(name, ip string) {
		t.Helper()
		c.commit(change.PatchStatus(object.Key{GroupKind: ingresses, Namespace: "default", Name: name}, func(obj object.Object) bool {
			obj.(*networkingv1.Ingress).Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: ip}}
			return true
		}))
	}
	theirs("late", "198.51.100.3")
	theirs("foreign", "198.51.100.3")
	status("n1", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue })
	served("web", "192.0.2.1", "198.51.100.3")
	served("late", "198.51.100.3")
	served("foreign", "198.51.100.3")

	c.commit(change.Delete(class, metav1.DeleteOptions{}, now))
	local := object.Key{GroupKind: control.StorageClass, Name: storage.LocalClass}
	c.commit(change.Delete(local, metav1.DeleteOptions{}, now))
	c.eventually("what every cluster has", func() bool { return c.store.Get(local) != nil })
	if c.store.Get(class) != nil {
		t.Error("a class that was deleted is made again")
	}
}
