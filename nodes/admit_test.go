package nodes_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestBoundByHand: a pod that somebody bound to a node it does not fit fails
// there, and what it asked for is free for others.
func TestBoundByHand(t *testing.T) {
	c := newCluster(t)
	huge := tool("serve", ":8080")
	huge.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100k")}
	c.run("huge", one(huge))
	c.wait("huge", func(p *corev1.Pod) string {
		if p.Status.Phase != corev1.PodFailed || p.Status.Reason != "OutOfcpu" ||
			!strings.HasPrefix(p.Status.Message, "Pod was rejected: Node didn't have enough resource: cpu, requested: 100000000, used: 0, capacity: ") {
			return fmt.Sprintf("not rejected: %+v", p.Status)
		}
		return ""
	})
	c.waitEvent("OutOfcpu Node didn't have enough resource: cpu")
	if o, err := c.node.Get(t.Context(), "huge-1"); err != nil || o.Sandbox != nil {
		t.Errorf("the machine holds %+v of the rejected pod, %v", o, err)
	}
	c.run("small", one(tool("serve", ":8080")))
	c.wait("small", ready)
}
