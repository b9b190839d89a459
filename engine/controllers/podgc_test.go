package controllers_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// podOn is a pod that is bound to a node.
func podOn(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "web"}}},
	}
}

// The pods of a node that is shut down, of which somebody says so with a taint, go without
// its agent; those of a node that is ready wait for it.
func TestOutOfService(t *testing.T) {
	c := start(t, 2, quiet)
	c.unattended = func(*corev1.Pod) bool { return true }
	held := podOn("a", "node-00")
	held.Finalizers = []string{"example.com/hold"}
	c.commit(change.Create(held, time.Now()), change.Create(podOn("b", "node-01"), time.Now()))
	fail := func(name string) {
		c.commit(change.PatchStatus(object.Key{GroupKind: control.Node, Name: name}, func(obj object.Object) bool {
			n := obj.(*corev1.Node)
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady"}}
			return true
		}))
	}
	fail("node-00")
	for _, name := range []string{"node-00", "node-01"} {
		c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: name}, func(obj object.Object) bool {
			n := obj.(*corev1.Node)
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute})
			return true
		}))
	}
	c.eventually("the pod of the node that is shut down to end", func() bool { return c.pod("a").Status.Phase == corev1.PodFailed })
	if got := c.pod("a"); got.Status.ObservedGeneration != got.Generation {
		t.Errorf("the pod has ended in generation %d and says so of %d", got.Generation, got.Status.ObservedGeneration)
	}
	c.commit(change.Patch(object.KeyOf(control.Pod, held), func(obj object.Object) bool { obj.SetFinalizers(nil); return true }))
	c.eventually("it to go", func() bool { return c.pod("a") == nil })
	c.eventually("the other one to be evicted", func() bool { return c.pod("b").DeletionTimestamp != nil })
	if got := c.pod("b").Status.Phase; got != corev1.PodPending {
		t.Errorf("a pod that its agent will end is %s, want Pending", got)
	}
	fail("node-01")
	c.eventually("it to go with its node", func() bool { return c.pod("b") == nil })
}

// Of pods that have ended, those that their node evicted go first.
func TestEndedPods(t *testing.T) {
	c := start(t, 1, quiet, func(cfg *controllers.Config) { cfg.TerminatedPods = 2 })
	c.unattended = func(*corev1.Pod) bool { return true }
	var changes []change.Change
	for _, p := range []struct {
		name   string
		age    time.Duration
		status corev1.PodStatus
	}{
		{"oldest", 3 * time.Hour, corev1.PodStatus{Phase: corev1.PodSucceeded}},
		{"old", 2 * time.Hour, corev1.PodStatus{Phase: corev1.PodFailed}},
		{"new", time.Minute, corev1.PodStatus{Phase: corev1.PodSucceeded}},
		{"evicted", time.Second, corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}},
	} {
		pod := podOn(p.name, "node-00")
		pod.CreationTimestamp = metav1.NewTime(time.Now().Add(-p.age))
		changes = append(changes, change.Create(pod, time.Now()), change.PatchStatus(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
			obj.(*corev1.Pod).Status = p.status
			return true
		}))
	}
	c.commit(changes...)
	c.eventually("two of them to go", func() bool { return c.count("pod") == 2 })
	if c.pod("old") == nil || c.pod("new") == nil {
		t.Errorf("the evicted and the oldest should have gone: old there %t, new there %t", c.pod("old") != nil, c.pod("new") != nil)
	}
}
