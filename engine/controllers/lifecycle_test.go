package controllers_test

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

func (c *cluster) delete(key object.Key, policy metav1.DeletionPropagation) {
	c.t.Helper()
	c.commit(change.Delete(key, metav1.DeleteOptions{PropagationPolicy: &policy}, time.Now()))
}

func (c *cluster) count(kind string) int {
	gk := map[string]object.Key{"rs": {GroupKind: control.ReplicaSet}, "pod": {GroupKind: control.Pod}}[kind].GroupKind
	objs, _ := c.store.List(gk, "default")
	return len(objs)
}

// Background: the owner goes at once, its dependents after it.
func TestDeleteBackground(t *testing.T) {
	c := start(t, 1)
	c.commit(change.Create(newDeployment("web", 3), time.Now()))
	c.eventually("rollout", func() bool { return c.rolledOut("web") })
	c.delete(deploymentKey("web"), metav1.DeletePropagationBackground)
	if c.deployment("web") != nil {
		t.Error("the deployment is still there")
	}
	c.eventually("collection", func() bool { return c.count("rs") == 0 && c.count("pod") == 0 })
}

// Foreground: the owner waits until the last dependent is gone.
func TestDeleteForeground(t *testing.T) {
	c := start(t, 1)
	c.pull = 2 * time.Millisecond
	c.commit(change.Create(newDeployment("web", 3), time.Now()))
	c.eventually("rollout", func() bool { return c.rolledOut("web") })
	watcher, err := c.store.Watch(0, control.Deployment, control.ReplicaSet, control.Pod)
	if err != nil {
		t.Fatal(err)
	}
	c.delete(deploymentKey("web"), metav1.DeletePropagationForeground)
	if d := c.deployment("web"); d == nil || !slices.Contains(d.Finalizers, "foregroundDeletion") {
		t.Errorf("deployment = %v, want it to wait with the finalizer foregroundDeletion", d)
	}
	c.eventually("collection", func() bool { return c.deployment("web") == nil })
	var order []string
	events, err := watcher.Next(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if ev.Type == object.Deleted {
			order = append(order, ev.Key.Kind)
		}
	}
	if want := []string{"Pod", "Pod", "Pod", "ReplicaSet", "Deployment"}; !slices.Equal(order, want) {
		t.Errorf("deleted in the order %v, want %v", order, want)
	}
}

// Orphan: the dependents stay, without the reference; a Deployment with the
// same selector adopts them.
func TestDeleteOrphan(t *testing.T) {
	c := start(t, 1)
	c.commit(change.Create(newDeployment("web", 2), time.Now()))
	c.eventually("rollout", func() bool { return c.rolledOut("web") })
	rs := c.newest(c.deployment("web"))
	before := c.pods()
	c.delete(deploymentKey("web"), metav1.DeletePropagationOrphan)
	c.eventually("the owner's end", func() bool { return c.deployment("web") == nil })
	got := control.Get[appsv1.ReplicaSet](c.store, object.KeyOf(control.ReplicaSet, rs))
	if got == nil || len(got.OwnerReferences) != 0 {
		t.Fatalf("replica set = %v, want it without owners", got)
	}
	c.commit(change.Create(newDeployment("web", 2), time.Now()))
	c.eventually("adoption", func() bool { return c.rolledOut("web") })
	if after := c.pods(); len(after) != 2 || after[0].UID != before[0].UID || after[1].UID != before[1].UID {
		t.Errorf("pods after the adoption differ from those before")
	}
}

// An object whose owner never was there is collected; one with another owner
// that stays is kept without the reference.
func TestAbsentOwner(t *testing.T) {
	c := start(t, 0)
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "owner"}}
	c.commit(change.Create(owner, time.Now()))
	gone := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: "not-its-uid"}
	stays := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID}
	configMap := object.Key{Namespace: "default", Name: "a"}
	configMap.Kind = "ConfigMap"
	other := configMap
	other.Name = "b"
	c.commit(
		change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", OwnerReferences: []metav1.OwnerReference{gone}}}, time.Now()),
		change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b", OwnerReferences: []metav1.OwnerReference{gone, stays}}}, time.Now()))
	c.eventually("collection of a", func() bool { return c.store.Get(configMap) == nil })
	c.eventually("b without the reference", func() bool {
		b := c.store.Get(other)
		return b != nil && len(b.GetOwnerReferences()) == 1
	})
}

// An owner in another namespace is none: who it was to own goes, and an event tells why. What
// is in no namespace stays.
func TestOwnerInOtherNamespace(t *testing.T) {
	c := start(t, 0)
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "owner"}}
	c.commit(change.Create(owner, time.Now()))
	refs := []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID}}
	c.commit(
		change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", OwnerReferences: refs}}, time.Now()),
		change.Create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "b", OwnerReferences: refs}}, time.Now()),
		change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "c", OwnerReferences: refs}}, time.Now()))
	for kind, name := range map[string]string{"ConfigMap": "a", "ClusterRole": "b"} {
		namespace := map[string]string{"a": "default"}[name]
		want := fmt.Sprintf("OwnerRefInvalidNamespace: ownerRef [v1/ConfigMap, namespace: %s, name: owner, uid: %s] does not exist in namespace %q", namespace, owner.UID, namespace)
		c.eventually("the event of "+name, func() bool { return slices.Contains(c.events(kind, name), want) })
	}
	configMap := func(namespace, name string) object.Object {
		return c.store.Get(object.Key{GroupKind: control.ConfigMap, Namespace: namespace, Name: name})
	}
	c.eventually("collection of a", func() bool { return configMap("default", "a") == nil })
	if c.store.Get(object.Key{GroupKind: schema.GroupKind{Group: rbacv1.GroupName, Kind: "ClusterRole"}, Name: "b"}) == nil || configMap("kube-public", "c") == nil {
		t.Error("the role and what is beside its owner should stay")
	}
}

// A namespace goes when all that is in it has, pods with their grace period.
func TestDeleteNamespace(t *testing.T) {
	c := start(t, 1)
	c.commit(change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, time.Now()))
	d := newDeployment("web", 3)
	d.Namespace = "team"
	c.commit(change.Create(d, time.Now()))
	c.eventually("pods", func() bool {
		pods, _ := c.store.List(control.Pod, "team")
		return len(pods) == 3 && control.Ready(pods[2].(*corev1.Pod))
	})
	key := object.Key{GroupKind: control.Namespace, Name: "team"}
	held := object.Key{Namespace: "team", Name: "held"}
	held.Kind = "ConfigMap"
	c.commit(change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "held", Finalizers: []string{"example.com/hold"}}}, time.Now()))
	// Somebody else has something to say, too.
	c.commit(change.PatchStatus(key, func(obj object.Object) bool {
		obj.(*corev1.Namespace).Status.Conditions = []corev1.NamespaceCondition{{Type: "example.com/Billed", Status: corev1.ConditionTrue, Reason: "Paid", Message: "Paid for"}}
		return true
	}))
	c.delete(key, metav1.DeletePropagationBackground)
	c.eventually("all but what is held", func() bool {
		ns := control.Get[corev1.Namespace](c.store, key)
		for _, cond := range ns.Status.Conditions {
			if cond.Type == corev1.NamespaceContentRemaining && cond.Message == "Some resources are remaining: configmaps. has 1 resource instances" {
				return ns.Status.Phase == corev1.NamespaceTerminating
			}
		}
		return false
	})
	if got := control.Get[corev1.Namespace](c.store, key).Status.Conditions; len(got) != 6 || got[0].Message != "Paid for" {
		t.Errorf("conditions are %v, want that of somebody else and five of the controller", got)
	}
	c.commit(change.Patch(held, func(obj object.Object) bool { obj.SetFinalizers(nil); return true }))
	c.eventually("the namespace's end", func() bool { return c.store.Get(key) == nil })
}

// Every cluster has its namespaces, their service accounts, and the Service of
// the API.
func TestBootstrap(t *testing.T) {
	c := start(t, 0)
	for _, ns := range []string{"default", "kube-system", "kube-public", "kube-node-lease", "headway-system"} {
		c.eventually("service account of "+ns, func() bool {
			return c.store.Get(object.Key{GroupKind: control.ServiceAccount, Namespace: ns, Name: "default"}) != nil
		})
	}
	svc := control.Get[corev1.Service](c.store, object.Key{GroupKind: control.Service, Namespace: "default", Name: "kubernetes"})
	if svc == nil || svc.Spec.ClusterIP != "10.96.0.1" || svc.Spec.Ports[0].Port != 443 || svc.Spec.Ports[0].TargetPort.IntVal != 6443 {
		t.Fatalf("service kubernetes = %+v", svc)
	}
	slice := object.Key{GroupKind: control.EndpointSlice, Namespace: "default", Name: "kubernetes"}
	c.delete(slice, metav1.DeletePropagationBackground)
	c.eventually("the slice to be back", func() bool {
		s := control.Get[discoveryv1.EndpointSlice](c.store, slice)
		return s != nil && s.Endpoints[0].Addresses[0] == "192.0.2.1"
	})
}

// Servers of aggregated APIs learn in kube-system whom to believe, and may read it
// there; what is changed of it is put back.
func TestFrontProxyIsPublished(t *testing.T) {
	c := start(t, 0, func(cfg *controllers.Config) { cfg.FrontProxyCA = []byte("the front proxy's") })
	key := object.Key{GroupKind: control.ConfigMap, Namespace: "kube-system", Name: "extension-apiserver-authentication"}
	want := map[string]string{
		"client-ca-file": rootCA, "requestheader-client-ca-file": "the front proxy's", "requestheader-allowed-names": `["front-proxy-client"]`,
		"requestheader-username-headers": `["X-Remote-User"]`, "requestheader-uid-headers": `["X-Remote-Uid"]`,
		"requestheader-group-headers": `["X-Remote-Group"]`, "requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	}
	published := func() bool {
		cm := control.Get[corev1.ConfigMap](c.store, key)
		return cm != nil && maps.Equal(cm.Data, want)
	}
	c.eventually("the ConfigMap", published)
	role := object.Key{GroupKind: schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "Role"}, Namespace: "kube-system", Name: "extension-apiserver-authentication-reader"}
	c.eventually("the Role", func() bool { return c.store.Get(role) != nil })
	c.delete(role, metav1.DeletePropagationBackground)
	c.commit(change.Patch(key, func(obj object.Object) bool {
		obj.(*corev1.ConfigMap).Data["requestheader-client-ca-file"] = "somebody else's"
		return true
	}))
	c.eventually("both to be back", func() bool { return published() && c.store.Get(role) != nil })
}

// Endpoints that a user keeps for a Service without a selector become a slice,
// follow it, and go with it.
func TestMirror(t *testing.T) {
	c := start(t, 0)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "sql", Port: 5432}}}}
	ep := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "192.0.2.10"}}, Ports: []corev1.EndpointPort{{Name: "sql", Port: 5432, Protocol: corev1.ProtocolTCP}},
	}}}
	c.commit(change.Create(svc, time.Now()), change.Create(ep, time.Now()))
	addresses := func() (found []string) {
		objs, _ := c.store.List(control.EndpointSlice, "default")
		for _, o := range objs {
			if s := o.(*discoveryv1.EndpointSlice); s.Labels[discoveryv1.LabelServiceName] == "db" {
				for _, e := range s.Endpoints {
					found = append(found, e.Addresses...)
				}
			}
		}
		return found
	}
	c.eventually("the slice", func() bool { return slices.Equal(addresses(), []string{"192.0.2.10"}) })
	key := object.Key{GroupKind: control.Endpoints, Namespace: "default", Name: "db"}
	c.commit(change.Patch(key, func(obj object.Object) bool {
		obj.(*corev1.Endpoints).Subsets[0].Addresses[0].IP = "192.0.2.11"
		return true
	}))
	c.eventually("the new address", func() bool { return slices.Equal(addresses(), []string{"192.0.2.11"}) })
	// Annotations are copied, but for those of others, and no more than 1,000 addresses.
	c.commit(change.Patch(key, func(obj object.Object) bool {
		obj.SetAnnotations(map[string]string{"example.com/a": "b", corev1.LastAppliedConfigAnnotation: "{}"})
		subset := &obj.(*corev1.Endpoints).Subsets[0]
		for i := range 1001 {
			subset.NotReadyAddresses = append(subset.NotReadyAddresses, corev1.EndpointAddress{IP: fmt.Sprintf("198.51.%d.%d", i/250, i%250+1)})
		}
		return true
	}))
	c.eventually("a thousand addresses and the annotation", func() bool {
		objs, _ := c.store.List(control.EndpointSlice, "default")
		for _, o := range objs {
			if o.GetLabels()[discoveryv1.LabelServiceName] == "db" && !maps.Equal(o.GetAnnotations(), map[string]string{"example.com/a": "b"}) {
				return false
			}
		}
		return len(addresses()) == 1000 && slices.Contains(addresses(), "192.0.2.11")
	})
	c.eventually("the event", func() bool {
		return slices.Contains(c.events("Endpoints", "db"), "TooManyAddressesToMirror: A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 2 addresses were skipped")
	})
	c.delete(key, metav1.DeletePropagationBackground)
	c.eventually("the slice's end", func() bool { return len(addresses()) == 0 })
}

// A pod without a node whose deletion was cut off after it was marked goes.
func TestUnscheduledPodBeingDeleted(t *testing.T) {
	c := start(t, 0)
	key := object.Key{GroupKind: control.Pod, Namespace: "default", Name: "waiting"}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "waiting"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "web"}}},
	}
	marked := func(current object.Object) (object.Object, error) {
		next := current.DeepCopyObject().(object.Object)
		next.SetDeletionTimestamp(new(metav1.NewTime(time.Now().Add(-4 * time.Second))))
		next.SetDeletionGracePeriodSeconds(new(int64(0)))
		return next, nil
	}
	c.commit(change.Create(pod, time.Now()))
	c.commit(change.Change{Key: key, Mutate: marked})
	c.eventually("the pod to go", func() bool { return c.store.Get(key) == nil })
}

// Events are removed when their time has come.
func TestEventsExpire(t *testing.T) {
	c := start(t, 0)
	key := object.Key{GroupKind: control.Event, Namespace: "default", Name: "old"}
	c.commit(change.Create(&corev1.Event{
		ObjectMeta:    metav1.ObjectMeta{Namespace: "default", Name: "old", CreationTimestamp: metav1.NewTime(time.Now().Add(-2 * time.Hour))},
		LastTimestamp: metav1.NewTime(time.Now().Add(-61 * time.Minute)),
	}, time.Now()))
	c.eventually("the event to go", func() bool { return c.store.Get(key) == nil })
}

// What is unknown to --controllers is an error, and what is off does nothing.
func TestSelect(t *testing.T) {
	names := []string{"deployment-controller", "garbage-collector-controller"}
	for _, tc := range []struct {
		flags   []string
		want    []bool
		wantErr string
	}{
		{nil, []bool{true, true}, ""},
		{[]string{"*"}, []bool{true, true}, ""},
		{[]string{"*", "-deployment-controller"}, []bool{false, true}, ""},
		{[]string{"*", "-garbagecollector"}, []bool{true, false}, ""},
		{[]string{"deployment"}, []bool{true, false}, ""},
		{[]string{"-deployment"}, []bool{false, false}, ""},
		{[]string{"typo"}, nil, `"typo" is not in the list of known controllers`},
	} {
		got, err := controllers.Selected(names, tc.flags)
		if tc.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("Selected(%q) = %v, want %q", tc.flags, err, tc.wantErr)
			}
			continue
		}
		if err != nil || got[names[0]] != tc.want[0] || got[names[1]] != tc.want[1] {
			t.Errorf("Selected(%q) = %v, %v, want %v", tc.flags, got, err, tc.want)
		}
	}
}

// A dependent that cannot be released keeps its owner, and is not deleted.
func TestOrphanThatCannotBeReleased(t *testing.T) {
	var held atomic.Bool
	c := startOn(t, store.Options{
		Path: filepath.Join(t.TempDir(), "db"),
		Admit: []store.Admit{func(_ object.Reader, next, old object.Object) (object.Object, error) {
			if cm, ok := next.(*corev1.ConfigMap); ok && old != nil && cm.Name == "held" && held.Load() {
				return nil, errors.New("held back")
			}
			return next, nil
		}},
	}, 0)
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "owner"}}
	ownerKey := object.Key{GroupKind: control.ConfigMap, Namespace: "default", Name: "owner"}
	c.commit(change.Create(owner, time.Now()))
	ref := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID}
	for _, name := range []string{"free", "held"} {
		c.commit(change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, OwnerReferences: []metav1.OwnerReference{ref}}}, time.Now()))
	}
	references := func(name string) int {
		cm := c.store.Get(object.Key{GroupKind: control.ConfigMap, Namespace: "default", Name: name})
		if cm == nil {
			t.Fatalf("ConfigMap %s is gone", name)
		}
		return len(cm.GetOwnerReferences())
	}
	held.Store(true)
	c.delete(ownerKey, metav1.DeletePropagationOrphan)
	c.eventually("the other one's release", func() bool { return references("free") == 0 })
	if c.store.Get(ownerKey) == nil {
		t.Error("the owner is gone although a dependent still refers to it")
	}
	held.Store(false)
	c.eventually("the owner's end", func() bool { return c.store.Get(ownerKey) == nil })
	if n := references("held"); n != 0 {
		t.Errorf("the dependent has %d owners, want none", n)
	}
}

// Objects whose owner references form a circle go when one of them is deleted
// in the foreground.
func TestCircleOfOwners(t *testing.T) {
	c := start(t, 1)
	const n = 3
	name := func(i int) string { return fmt.Sprintf("pod-%d", i%n) }
	key := func(i int) object.Key { return object.Key{GroupKind: control.Pod, Namespace: "default", Name: name(i)} }
	for i := range n {
		c.commit(change.Create(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name(i)},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example/web:1"}}},
		}, time.Now()))
	}
	for i := range n {
		owner := c.store.Get(key(i + 1))
		c.commit(change.Patch(key(i), func(obj object.Object) bool {
			obj.SetOwnerReferences([]metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Pod", Name: name(i + 1), UID: owner.GetUID(), Controller: new(true), BlockOwnerDeletion: new(true),
			}})
			return true
		}))
	}
	c.delete(key(0), metav1.DeletePropagationForeground)
	c.eventually("the end of all", func() bool { return c.count("pod") == 0 })
}
