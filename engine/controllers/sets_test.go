package controllers_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

func newDaemonSet(edit ...func(ds *appsv1.DaemonSet)) *appsv1.DaemonSet {
	d := newDeployment("log", 1)
	ds := &appsv1.DaemonSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.DaemonSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template}}
	for _, e := range edit {
		e(ds)
	}
	return ds
}

var daemonSetKey = object.Key{GroupKind: control.DaemonSet, Namespace: "default", Name: "log"}

func (c *cluster) daemonSet() *appsv1.DaemonSet {
	return control.Get[appsv1.DaemonSet](c.store, daemonSetKey)
}

func (c *cluster) patchDaemonSet(edit func(ds *appsv1.DaemonSet)) {
	c.t.Helper()
	c.commit(change.Patch(daemonSetKey, func(obj object.Object) bool { edit(obj.(*appsv1.DaemonSet)); return true }))
}

// appPods are the pods of an app.
func (c *cluster) appPods(app string) []*corev1.Pod {
	objs, _ := c.store.List(control.Pod, "default")
	var pods []*corev1.Pod
	for _, o := range objs {
		if p := o.(*corev1.Pod); p.Labels["app"] == app {
			pods = append(pods, p)
		}
	}
	return pods
}

// onNodes are the images of the pods of "log" by node.
func (c *cluster) onNodes() string {
	var all []string
	for _, p := range c.appPods("log") {
		all = append(all, p.Spec.NodeName+"="+strings.TrimPrefix(p.Spec.Containers[0].Image, "example/"))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// revisionsOf are the numbers of an owner's revisions.
func (c *cluster) revisionsOf(owner object.Object) []int64 {
	objs, _ := c.store.List(control.ControllerRevision, "default")
	var numbers []int64
	for _, o := range objs {
		if metav1.IsControlledBy(o, owner) {
			numbers = append(numbers, o.(*appsv1.ControllerRevision).Revision)
		}
	}
	slices.Sort(numbers)
	return numbers
}

func (c *cluster) daemonSetIs(nodes string) {
	c.t.Helper()
	c.eventually("log on "+nodes, func() bool {
		ds := c.daemonSet()
		n := int32(len(strings.Fields(nodes)))
		return c.onNodes() == nodes && ds.Status.ObservedGeneration == ds.Generation &&
			ds.Status.DesiredNumberScheduled == n && ds.Status.NumberAvailable == n && ds.Status.UpdatedNumberScheduled == n
	})
}

func (c *cluster) editNode(name string, edit func(*corev1.Node)) {
	c.t.Helper()
	c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: name}, func(obj object.Object) bool { edit(obj.(*corev1.Node)); return true }))
}

// TestDaemonSet: a pod on each node, whatever nodes come, go, and refuse; it rolls, keeps
// its history, and goes back.
func TestDaemonSet(t *testing.T) {
	c := start(t, 2)
	c.commit(change.Create(newDaemonSet(), time.Now()))
	c.daemonSetIs("node-00=web:1 node-01=web:1")
	ds := c.daemonSet()
	for _, p := range c.appPods("log") {
		revision := control.Get[appsv1.ControllerRevision](c.store, object.Key{GroupKind: control.ControllerRevision, Namespace: "default", Name: "log-" + p.Labels["controller-revision-hash"]})
		if !metav1.IsControlledBy(p, ds) || revision == nil || revision.Revision != 1 || p.Labels["pod-template-generation"] != "1" {
			t.Errorf("pod %s: labels %v, revision %v", p.Name, p.Labels, revision)
		}
		c.eventually("its event", func() bool {
			return slices.Contains(c.events("DaemonSet", "log"), "SuccessfulCreate: Created pod: "+p.Name)
		})
	}

	// Nodes come, refuse and go.
	c.node("node-02")
	c.daemonSetIs("node-00=web:1 node-01=web:1 node-02=web:1")
	c.editNode("node-02", func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "example.com/no", Effect: corev1.TaintEffectNoSchedule})
	})
	c.eventually("a pod where it should not be", func() bool {
		s := c.daemonSet().Status
		return s.DesiredNumberScheduled == 2 && s.NumberMisscheduled == 1 && len(c.appPods("log")) == 3
	})
	c.editNode("node-02", func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "example.com/no", Effect: corev1.TaintEffectNoExecute}}
	})
	c.daemonSetIs("node-00=web:1 node-01=web:1")
	c.commit(change.Delete(object.Key{GroupKind: control.Node, Name: "node-02"}, metav1.DeleteOptions{}, time.Now()))

	// A pod that has failed makes room for another.
	failed := c.appPods("log")[0]
	c.finish(failed, corev1.PodFailed)
	c.eventually("another pod", func() bool {
		return !slices.ContainsFunc(c.appPods("log"), func(p *corev1.Pod) bool { return p.UID == failed.UID }) &&
			slices.Contains(c.events("DaemonSet", "log"), fmt.Sprintf("FailedDaemonPod: Found failed daemon pod default/%s on node %s, will try to kill it", failed.Name, failed.Spec.NodeName))
	})
	c.daemonSetIs("node-00=web:1 node-01=web:1")

	// It rolls and goes back, which is a revision that it had.
	image := func(to string) {
		c.patchDaemonSet(func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Image = "example/" + to })
		c.daemonSetIs("node-00=" + to + " node-01=" + to)
	}
	image("web:2")
	if got := c.revisionsOf(ds); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("revisions = %v, want 1 and 2", got)
	}
	image("web:1")
	if got := c.revisionsOf(ds); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("revisions after the way back = %v, want 2 and 3", got)
	}
	c.patchDaemonSet(func(ds *appsv1.DaemonSet) { ds.Spec.RevisionHistoryLimit = new(int32(0)) })
	c.eventually("no history", func() bool { return slices.Equal(c.revisionsOf(ds), []int64{3}) })

	// On some nodes only.
	c.patchDaemonSet(func(ds *appsv1.DaemonSet) {
		ds.Spec.Template.Spec.NodeSelector = map[string]string{"kubernetes.io/hostname": "node-01"}
	})
	c.daemonSetIs("node-01=web:1")

	background := metav1.DeletePropagationBackground
	c.commit(change.Delete(daemonSetKey, metav1.DeleteOptions{PropagationPolicy: &background}, time.Now()))
	c.eventually("its pods and revisions to be gone", func() bool {
		return c.daemonSet() == nil && len(c.appPods("log")) == 0 && len(c.revisionsOf(ds)) == 0
	})
}

// TestDaemonSetSurges: with maxSurge no node is ever without a pod that is ready.
func TestDaemonSetSurges(t *testing.T) {
	c := start(t, 3)
	c.commit(change.Create(newDaemonSet(func(ds *appsv1.DaemonSet) {
		ds.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
			MaxUnavailable: new(intstr.FromInt32(0)), MaxSurge: new(intstr.FromInt32(2)),
		}}
	}), time.Now()))
	c.daemonSetIs("node-00=web:1 node-01=web:1 node-02=web:1")
	watcher, err := c.store.Watch(0, control.Pod)
	if err != nil {
		t.Fatal(err)
	}
	pods := map[object.Key]*corev1.Pod{}
	for _, p := range c.appPods("log") {
		pods[object.KeyOf(control.Pod, p)] = p
	}
	c.patchDaemonSet(func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Image = "example/web:2" })
	c.daemonSetIs("node-00=web:2 node-01=web:2 node-02=web:2")
	events, err := watcher.Next(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, ev := range events {
		if ev.Type == object.Deleted {
			delete(pods, ev.Key)
		} else {
			pods[ev.Key] = ev.Object.(*corev1.Pod)
		}
		if i+1 < len(events) && events[i+1].Revision == ev.Revision {
			continue
		}
		serving, staying := map[string]bool{}, 0
		for _, p := range pods {
			if p.DeletionTimestamp != nil {
				continue
			}
			staying++
			if control.Ready(p) {
				serving[p.Spec.NodeName] = true
			}
		}
		if staying > 5 {
			t.Fatalf("revision %d: there are %d pods that are not being deleted, want at most 5", ev.Revision, staying)
		}
		if len(serving) != 3 {
			t.Fatalf("revision %d: of the nodes only %v have a ready pod", ev.Revision, slices.Collect(maps.Keys(serving)))
		}
	}
}

// TestDaemonSetUndo: an update that never finishes is undone without a restart of the pods
// that it had not come to, with maxSurge as with maxUnavailable.
func TestDaemonSetUndo(t *testing.T) {
	for name, test := range map[string]struct {
		strategy *appsv1.RollingUpdateDaemonSet
		kept     int
	}{
		"unavailable": {nil, 3},
		"surge":       {&appsv1.RollingUpdateDaemonSet{MaxUnavailable: new(intstr.FromInt32(0)), MaxSurge: new(intstr.FromInt32(1))}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, 4, quiet)
			c.broken = func(p *corev1.Pod) bool { return strings.Contains(p.Spec.Containers[0].Image, "broken") }
			c.commit(change.Create(newDaemonSet(func(ds *appsv1.DaemonSet) {
				ds.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: test.strategy}
			}), time.Now()))
			const all = "node-00=web:1 node-01=web:1 node-02=web:1 node-03=web:1"
			c.daemonSetIs(all)
			image := func(to string) {
				c.patchDaemonSet(func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Image = "example/" + to })
			}
			image("broken:1")
			c.eventually("a pod that does not become ready", func() bool { return slices.ContainsFunc(c.appPods("log"), c.broken) })
			kept := map[string]*corev1.Pod{}
			for _, p := range c.appPods("log") {
				if !c.broken(p) && p.DeletionTimestamp == nil {
					kept[p.Name] = p
				}
			}
			if len(kept) != test.kept {
				t.Fatalf("%d pods were left, want %d", len(kept), test.kept)
			}
			watcher, err := c.store.Watch(0, control.Pod)
			if err != nil {
				t.Fatal(err)
			}
			image("web:1")
			c.daemonSetIs(all)
			events, err := watcher.Next(c.ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range events {
				p := ev.Object.(*corev1.Pod)
				if kept[p.Name] != nil && (ev.Type == object.Deleted || p.DeletionTimestamp != nil) {
					t.Errorf("%s was restarted", p.Name)
				}
			}
			if got := c.revisionsOf(c.daemonSet()); !slices.Equal(got, []int64{2, 3}) {
				t.Errorf("revisions = %v, want 2 and 3", got)
			}
		})
	}
}

// TestDaemonSetNameTaken: a revision whose name is something else's gets another.
func TestDaemonSetNameTaken(t *testing.T) {
	c := start(t, 1)
	c.commit(change.Create(newDaemonSet(), time.Now()))
	c.daemonSetIs("node-00=web:1")
	ds := c.daemonSet()
	objs, _ := c.store.List(control.ControllerRevision, "default")
	name := objs[0].GetName()
	background := metav1.DeletePropagationBackground
	c.commit(change.Delete(daemonSetKey, metav1.DeleteOptions{PropagationPolicy: &background}, time.Now()))
	c.eventually("all to be gone", func() bool {
		return c.daemonSet() == nil && len(c.revisionsOf(ds)) == 0 && len(c.appPods("log")) == 0
	})
	foreign := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Revision: 1}
	foreign.Data.Raw = []byte(`{"a":1}`)
	c.commit(change.Create(foreign, time.Now()), change.Create(newDaemonSet(), time.Now()))
	c.daemonSetIs("node-00=web:1")
	if got := c.daemonSet().Status.CollisionCount; got == nil || *got != 1 {
		t.Errorf("collisionCount = %v, want 1", got)
	}
}

func (c *cluster) statefulSet() *appsv1.StatefulSet {
	return control.Get[appsv1.StatefulSet](c.store, statefulSetKey)
}

var statefulSetKey = object.Key{GroupKind: control.StatefulSet, Namespace: "default", Name: "db"}

func newStatefulSet(replicas int32, edit ...func(set *appsv1.StatefulSet)) *appsv1.StatefulSet {
	d := newDeployment("db", replicas)
	set := &appsv1.StatefulSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.StatefulSetSpec{Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template, ServiceName: "peers"}}
	for _, e := range edit {
		e(set)
	}
	return set
}

func (c *cluster) patchStatefulSet(edit func(set *appsv1.StatefulSet)) {
	c.t.Helper()
	c.commit(change.Patch(statefulSetKey, func(obj object.Object) bool { edit(obj.(*appsv1.StatefulSet)); return true }))
}

// statefulSetIs waits for pods, written as "db-0=web:1 db-1=web:1", and for the status
// that says that they are all.
func (c *cluster) statefulSetIs(pods string) {
	c.t.Helper()
	c.eventually("the stateful set to be "+pods, func() bool {
		var all []string
		for _, p := range c.appPods("db") {
			all = append(all, p.Name+"="+strings.TrimPrefix(p.Spec.Containers[0].Image, "example/"))
		}
		slices.Sort(all)
		set, n := c.statefulSet(), int32(len(strings.Fields(pods)))
		s := set.Status
		return strings.Join(all, " ") == pods && s.ObservedGeneration == set.Generation && s.Replicas == n && s.AvailableReplicas == n && s.ReadyReplicas == n
	})
}

// TestStatefulSet: pods with names, one after the other; it grows, shrinks, rolls, gets
// stuck, and goes back, which nobody has to help it with.
func TestStatefulSet(t *testing.T) {
	c := start(t, 2)
	c.broken = func(p *corev1.Pod) bool { return strings.Contains(p.Spec.Containers[0].Image, "broken") }
	watcher, err := c.store.Watch(0, control.Pod)
	if err != nil {
		t.Fatal(err)
	}
	c.commit(change.Create(newStatefulSet(3), time.Now()))
	c.statefulSetIs("db-0=web:1 db-1=web:1 db-2=web:1")
	events, err := watcher.Next(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	ready := map[string]bool{}
	for _, ev := range events {
		p := ev.Object.(*corev1.Pod)
		if n := p.Name[len("db-"):]; ev.Type == object.Added && n != "0" && !ready[fmt.Sprintf("db-%d", n[0]-'1')] {
			t.Errorf("%s was created before the one before it was ready", p.Name)
		}
		ready[p.Name] = control.Ready(p)
	}
	set := c.statefulSet()
	for i, p := range c.appPods("db") {
		if p.Spec.Hostname != p.Name || p.Spec.Subdomain != "peers" || p.Labels["apps.kubernetes.io/pod-index"] != fmt.Sprint(i) || p.Labels["controller-revision-hash"] != set.Status.CurrentRevision {
			t.Errorf("pod %s: %+v, hostname %q", p.Name, p.Labels, p.Spec.Hostname)
		}
		c.eventually("its event", func() bool {
			return slices.Contains(c.events("StatefulSet", "db"), "SuccessfulCreate: Create Pod "+p.Name+" in StatefulSet db successful")
		})
	}
	size := func(n int32) { c.patchStatefulSet(func(set *appsv1.StatefulSet) { set.Spec.Replicas = &n }) }
	image := func(to string) {
		c.patchStatefulSet(func(set *appsv1.StatefulSet) { set.Spec.Template.Spec.Containers[0].Image = "example/" + to })
	}
	c.commit(change.PatchStatus(statefulSetKey, func(obj object.Object) bool {
		obj.(*appsv1.StatefulSet).Status.Conditions = []appsv1.StatefulSetCondition{{Type: "Watched", Status: corev1.ConditionTrue}}
		return true
	}))
	size(1)
	c.statefulSetIs("db-0=web:1")
	size(3)
	c.statefulSetIs("db-0=web:1 db-1=web:1 db-2=web:1")
	image("web:2")
	c.statefulSetIs("db-0=web:2 db-1=web:2 db-2=web:2")
	c.eventually("the new revision to be the current one", func() bool {
		s := c.statefulSet().Status
		return s.CurrentRevision == s.UpdateRevision && s.CurrentRevision != set.Status.CurrentRevision && s.UpdatedReplicas == 3 && s.CurrentReplicas == 3
	})

	// What is broken stops at the first, and is taken back.
	image("broken:1")
	c.eventually("the last to be broken", func() bool {
		pods := c.appPods("db")
		return len(pods) == 3 && strings.HasSuffix(pods[2].Spec.Containers[0].Image, "broken:1") && c.statefulSet().Status.ReadyReplicas == 2
	})
	image("web:2")
	c.statefulSetIs("db-0=web:2 db-1=web:2 db-2=web:2")
	if got := c.revisionsOf(set); !slices.Equal(got, []int64{1, 3, 4}) {
		t.Errorf("revisions = %v, want 1, 3 and 4", got)
	}

	// A part of it, and other numbers.
	c.patchStatefulSet(func(set *appsv1.StatefulSet) {
		set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(2))}
		set.Spec.Template.Spec.Containers[0].Image = "example/web:3"
	})
	c.statefulSetIs("db-0=web:2 db-1=web:2 db-2=web:3")
	c.commit(change.Delete(object.KeyOf(control.Pod, c.appPods("db")[0]), metav1.DeleteOptions{}, time.Now()))
	c.eventually("the first to go", func() bool { return c.appPods("db")[0].UID != "" && c.statefulSet().Status.Replicas == 3 })
	c.statefulSetIs("db-0=web:2 db-1=web:2 db-2=web:3")
	c.patchStatefulSet(func(set *appsv1.StatefulSet) {
		set.Spec.UpdateStrategy.RollingUpdate, set.Spec.Ordinals, set.Spec.RevisionHistoryLimit = nil, &appsv1.StatefulSetOrdinals{Start: 1}, new(int32(0))
	})
	c.statefulSetIs("db-1=web:3 db-2=web:3 db-3=web:3")
	c.eventually("no history", func() bool { return len(c.revisionsOf(set)) == 1 })
	if got := c.statefulSet().Status.Conditions; len(got) != 1 || got[0].Type != "Watched" {
		t.Errorf("conditions that others set: %+v", got)
	}

	background := metav1.DeletePropagationBackground
	c.commit(change.Delete(statefulSetKey, metav1.DeleteOptions{PropagationPolicy: &background}, time.Now()))
	c.eventually("its pods and revisions to be gone", func() bool {
		return c.statefulSet() == nil && len(c.appPods("db")) == 0 && len(c.revisionsOf(set)) == 0
	})
}

// TestStatefulSetParallel: all at once, a name that is taken waited for.
func TestStatefulSetParallel(t *testing.T) {
	c := start(t, 1)
	foreign := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db-1", Labels: map[string]string{"app": "other"}}, Spec: newDeployment("other", 1).Spec.Template.Spec}
	c.commit(change.Create(foreign, time.Now()), change.Create(newStatefulSet(3, func(set *appsv1.StatefulSet) { set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }), time.Now()))
	c.eventually("those whose names are free", func() bool {
		return len(c.appPods("db")) == 2 && slices.ContainsFunc(c.events("StatefulSet", "db"), func(e string) bool { return strings.HasPrefix(e, "FailedCreate: Create Pod db-") })
	})
	c.commit(change.Delete(object.KeyOf(control.Pod, foreign), metav1.DeleteOptions{}, time.Now()))
	c.statefulSetIs("db-0=web:1 db-1=web:1 db-2=web:1")
}
