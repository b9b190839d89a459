package controllers_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

func newNamespace(name string) change.Change {
	return change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, time.Now())
}

// Every namespace has the certificates that the API is verified by, from its
// first moment; what is changed or removed comes back, but not in a namespace
// that goes.
func TestRootCA(t *testing.T) {
	c := start(t, 0)
	key := object.Key{GroupKind: control.ConfigMap, Namespace: "new", Name: "kube-root-ca.crt"}
	check := func(when string) {
		t.Helper()
		cm := control.Get[corev1.ConfigMap](c.store, key)
		if cm == nil {
			t.Fatalf("%s: there is no ConfigMap", when)
		}
		if diff := cmp.Diff(map[string]string{"ca.crt": rootCA}, cm.Data); diff != "" || cm.Annotations["kubernetes.io/description"] == "" {
			t.Errorf("%s: annotations %v, data (-want +got):\n%s", when, cm.Annotations, diff)
		}
	}
	good := func() bool {
		cm := control.Get[corev1.ConfigMap](c.store, key)
		return cm != nil && cmp.Equal(cm.Data, map[string]string{"ca.crt": rootCA}) && cm.Annotations["kubernetes.io/description"] != ""
	}
	c.commit(newNamespace("new"))
	check("with the namespace")
	c.commit(change.Patch(key, func(obj object.Object) bool {
		obj.(*corev1.ConfigMap).Data, obj.(*corev1.ConfigMap).Annotations = map[string]string{"ca.crt": "forged", "more": ""}, nil
		return true
	}))
	c.eventually("the certificates are put back", good)
	c.commit(change.Delete(key, metav1.DeleteOptions{}, time.Now()))
	c.eventually("the ConfigMap comes back", good)

	account := object.Key{GroupKind: control.ServiceAccount, Namespace: "new", Name: "default"}
	c.commit(change.Delete(account, metav1.DeleteOptions{}, time.Now()))
	c.eventually("the account comes back", func() bool { return c.store.Get(account) != nil })

	ns := object.Key{GroupKind: control.Namespace, Name: "new"}
	c.commit(change.Delete(ns, metav1.DeleteOptions{}, time.Now()))
	c.eventually("the end of the namespace", func() bool { return c.store.Get(ns) == nil })
	if c.store.Get(key) != nil || c.store.Get(account) != nil {
		t.Error("something is left of the namespace")
	}
}

// Pods of an account that does not exist are refused, in Kubernetes' words, and
// made as soon as it does.
func TestPodsWaitForTheirAccount(t *testing.T) {
	c := start(t, 1)
	c.commit(newNamespace("shop"))
	web := newDeployment("web", 2)
	web.Namespace, web.Spec.Template.Spec.ServiceAccountName = "shop", "robot"
	c.commit(change.Create(web, time.Now()))
	const refused = `pods "NAME-" is forbidden: error looking up service account shop/robot: serviceaccount "robot" not found`
	var rs *appsv1.ReplicaSet
	c.eventually("the failure is told", func() bool {
		sets, _ := c.store.List(control.ReplicaSet, "shop")
		if len(sets) != 1 {
			return false
		}
		rs = sets[0].(*appsv1.ReplicaSet)
		return len(rs.Status.Conditions) == 1 && rs.Status.Conditions[0].Message == strings.Replace(refused, "NAME", rs.Name, 1)
	})
	c.eventually("the event", func() bool {
		events, _ := c.store.List(control.Event, "shop")
		return slices.ContainsFunc(events, func(o object.Object) bool {
			e := o.(*corev1.Event)
			return e.Reason == "FailedCreate" && e.Message == "Error creating: "+rs.Status.Conditions[0].Message
		})
	})
	c.commit(change.Create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "robot"}}, time.Now()))
	c.eventually("the pods", func() bool {
		d := control.Get[appsv1.Deployment](c.store, object.Key{GroupKind: control.Deployment, Namespace: "shop", Name: "web"})
		return d != nil && d.Status.AvailableReplicas == 2
	})
	pods, _ := c.store.List(control.Pod, "shop")
	for _, o := range pods {
		if p := o.(*corev1.Pod); len(p.Spec.Volumes) != 1 || len(p.Spec.Containers[0].VolumeMounts) != 1 {
			t.Errorf("pod %s has the volumes %+v, want its token", p.Name, p.Spec.Volumes)
		}
	}
}
