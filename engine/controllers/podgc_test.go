package controllers_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	c.commit(change.Create(podOn("a", "node-00"), time.Now()), change.Create(podOn("b", "node-01"), time.Now()))
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
	c.eventually("the pod of the node that is shut down to go", func() bool { return c.pod("a") == nil })
	c.eventually("the other one to be evicted", func() bool { return c.pod("b").DeletionTimestamp != nil })
	if got := c.pod("b").Status.Phase; got != corev1.PodPending {
		t.Errorf("a pod that its agent will end is %s, want Pending", got)
	}
	fail("node-01")
	c.eventually("it to go with its node", func() bool { return c.pod("b") == nil })
}
