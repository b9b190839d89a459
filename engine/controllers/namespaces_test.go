package controllers_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
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
