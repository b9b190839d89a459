package controllers_test

import (
	"context"
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
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

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

// A silent node becomes Unknown, is tainted, and its pods leave their Service
// and, without a toleration for it, the node.
func TestSilentNode(t *testing.T) {
	c := start(t, 1, func(cfg *controllers.Config) { cfg.NodeGrace = 300 * time.Millisecond })
	c.standby()
	lease := object.Key{GroupKind: control.Lease, Namespace: corev1.NamespaceNodeLease, Name: "node-00"}
	c.commit(change.Create(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: lease.Namespace, Name: lease.Name},
		Spec:       coordinationv1.LeaseSpec{RenewTime: &metav1.MicroTime{Time: time.Now()}},
	}, time.Now()))
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	pod := c.pods()[0]
	c.eventually("the node to be unreachable", func() bool {
		n := control.Get[corev1.Node](c.store, object.Key{GroupKind: control.Node, Name: "node-00"})
		unreachable := 0
		for _, taint := range n.Spec.Taints {
			if taint.Key == corev1.TaintNodeUnreachable {
				unreachable++
			}
		}
		return unreachable == 2 && n.Status.Conditions[0].Status == corev1.ConditionUnknown && n.Status.Conditions[0].Message == "Kubelet stopped posting node status."
	})
	c.eventually("eviction", func() bool {
		return slices.Contains(c.events("Pod", pod.Name), "TaintManagerEviction: Marking for deletion Pod default/"+pod.Name)
	})
	c.eventually("a successor that waits", func() bool {
		pods := c.pods()
		if len(pods) != 1 || pods[0].UID == pod.UID {
			return false
		}
		cond := control.PodCondition(pods[0], corev1.PodScheduled)
		return cond != nil && cond.Reason == "Unschedulable" &&
			strings.HasPrefix(cond.Message, "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. ")
	})
	// The node is heard again: it serves again.
	c.commit(change.PatchStatus(object.Key{GroupKind: control.Node, Name: "node-00"}, func(obj object.Object) bool {
		n := obj.(*corev1.Node)
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(time.Now().Add(time.Minute))}}
		return true
	}))
	c.eventually("the successor to run", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
}

// standby is a node that is ready, and takes no pods.
func (c *cluster) standby() {
	c.t.Helper()
	c.node("standby")
	c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: "standby"}, func(obj object.Object) bool {
		obj.(*corev1.Node).Spec.Unschedulable = true
		return true
	}))
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan error, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			_, err := c.user.Commit(ctx, change.Tx{Changes: []change.Change{renewed("standby")}})
			if err != nil {
				done <- err
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	c.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			c.t.Errorf("renew a lease: %v", err)
		}
	})
}

// If no node is heard any more, it is the server that hears nobody: the pods stay. When
// another node is heard, those of a silent one go.
func TestNoNodeIsHeard(t *testing.T) {
	c := start(t, 1, func(cfg *controllers.Config) { cfg.NodeGrace = 300 * time.Millisecond })
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	pod := c.pods()[0]
	node := object.Key{GroupKind: control.Node, Name: "node-00"}
	taints := func() []corev1.Taint { return control.Get[corev1.Node](c.store, node).Spec.Taints }
	c.eventually("a taint", func() bool { return len(taints()) > 0 })
	if got := taints(); len(got) != 1 || got[0].ToString() != "node.kubernetes.io/unreachable:NoSchedule" {
		t.Errorf("taints of the only node, which is silent: %v, want only unreachable:NoSchedule", got)
	}
	// It is looked at again, and keeps its pod.
	c.commit(change.Patch(node, func(obj object.Object) bool {
		obj.(*corev1.Node).Spec.Unschedulable = true
		return true
	}))
	c.eventually("another taint", func() bool { return len(taints()) == 2 })
	if pods := c.pods(); len(pods) != 1 || pods[0].UID != pod.UID || pods[0].DeletionTimestamp != nil {
		t.Errorf("the pods are %v, want the one from before", pods)
	}
	c.standby()
	c.eventually("eviction", func() bool {
		return slices.Contains(c.events("Pod", pod.Name), "TaintManagerEviction: Marking for deletion Pod default/"+pod.Name)
	})
}

// Nodes get distinct ranges, and the pods of a node that is gone are removed.
func TestNodeGone(t *testing.T) {
	c := start(t, 3, func(cfg *controllers.Config) { cfg.NodeGone = 50 * time.Millisecond })
	c.commit(change.Create(newDeployment("web", 3), time.Now()))
	c.eventually("rollout", func() bool { return c.rolledOut("web") })
	seen := map[string]bool{}
	nodes, _ := c.store.List(control.Node, "")
	for _, n := range nodes {
		seen[n.(*corev1.Node).Spec.PodCIDR] = true
	}
	if len(seen) != 3 || !seen["10.244.0.0/24"] || !seen["10.244.2.0/24"] {
		t.Errorf("pod CIDRs = %v, want the first three /24 of 10.244.0.0/16", seen)
	}
	gone := c.pods()[0].Spec.NodeName
	c.delete(object.Key{GroupKind: control.Node, Name: gone}, metav1.DeletePropagationBackground)
	c.eventually("pods elsewhere", func() bool {
		for _, p := range c.pods() {
			if p.Spec.NodeName == gone {
				return false
			}
		}
		return c.rolledOut("web")
	})
	for _, want := range []string{"RegisteredNode: Node " + gone + " event: Registered Node " + gone + " in Controller", "RemovingNode: Node " + gone + " event: Removing Node " + gone + " from Controller"} {
		c.eventually("the event "+want, func() bool { return slices.Contains(c.events("Node", gone), want) })
	}
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

// A toleration expires also for a taint that does not say since when it is
// there, as those that kubectl sets.
func TestUndatedTaint(t *testing.T) {
	c := start(t, 1)
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "example.com/drain", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](1)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	pod := c.pods()[0]
	c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: "node-00"}, func(obj object.Object) bool {
		n := obj.(*corev1.Node)
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "example.com/drain", Effect: corev1.TaintEffectNoExecute})
		return true
	}))
	c.eventually("eviction", func() bool {
		return slices.Contains(c.events("Pod", pod.Name), "TaintManagerEviction: Marking for deletion Pod default/"+pod.Name)
	})
}

// A pod that would have to leave later stays if the taint is gone before, and its events
// tell so.
func TestTaintTakenOff(t *testing.T) {
	c := start(t, 1, quiet)
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "example.com/drain", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](3600)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	pod := c.pods()[0]
	taint := func(taints ...corev1.Taint) {
		c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: "node-00"}, func(obj object.Object) bool {
			obj.(*corev1.Node).Spec.Taints = taints
			return true
		}))
	}
	drain := corev1.Taint{Key: "example.com/drain", Effect: corev1.TaintEffectNoExecute}
	taint(drain)
	// The pods of a node are looked at together: this one has to leave at once, the
	// other in an hour.
	c.commit(change.Create(podOn("other", "node-00"), time.Now()))
	c.eventually("a pod without the toleration to leave", func() bool { return c.pod("other") == nil })
	taint()
	want := "TaintManagerEviction: Cancelling deletion of Pod default/" + pod.Name
	c.eventually("the event", func() bool { return slices.Contains(c.events("Pod", pod.Name), want) })
	if got := c.pod(pod.Name); got == nil || got.DeletionTimestamp != nil || len(c.events("Pod", "other")) == 0 {
		t.Errorf("the pod that may stay is %v", got)
	}
}

// A controller that stood still has heard no heartbeats: that says nothing
// about the nodes.
func TestStoppedController(t *testing.T) {
	var ahead atomic.Int64
	c := start(t, 1, func(cfg *controllers.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	pod := c.pods()[0]
	ahead.Store(int64(10 * time.Minute))
	node := object.Key{GroupKind: control.Node, Name: "node-00"}
	c.commit(change.Patch(node, func(obj object.Object) bool {
		obj.SetAnnotations(map[string]string{"example.com/touched": "yes"})
		return true
	}))
	// One worker looks at the nodes in the order of their events: when it has
	// tainted this one, it has judged the other.
	c.commit(change.Create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-new"}}, time.Now()))
	c.eventually("the new node's taint", func() bool {
		return len(control.Get[corev1.Node](c.store, object.Key{GroupKind: control.Node, Name: "node-new"}).Spec.Taints) > 0
	})
	n := control.Get[corev1.Node](c.store, node)
	if n.Status.Conditions[0].Status != corev1.ConditionTrue || len(n.Spec.Taints) != 0 {
		t.Errorf("the node has conditions %v and taints %v, want it Ready", n.Status.Conditions, n.Spec.Taints)
	}
	if pods := c.pods(); len(pods) != 1 || pods[0].UID != pod.UID || !control.Ready(pods[0]) {
		t.Errorf("pods are %v, want the one from before, ready", pods)
	}
}
