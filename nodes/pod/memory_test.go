package pod_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/nodes/pod"
)

func TestMemoryVolumeBytes(t *testing.T) {
	node := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("8Gi")}
	for _, c := range []struct {
		name, podLimit, sizeLimit string
		allocatable               corev1.ResourceList
		want                      int64
	}{
		{"no bound at all", "", "", nil, 0},
		{"the node's", "", "", node, 8 << 30},
		{"the pod's", "64Mi", "", node, 64 << 20},
		{"its own", "64Mi", "16Mi", node, 16 << 20},
		{"no more than the pod's", "64Mi", "1Gi", node, 64 << 20},
		{"no more than the node's", "", "100Gi", node, 8 << 30},
	} {
		p := newPod()
		if c.podLimit != "" {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(c.podLimit)}
		}
		var limit *resource.Quantity
		if c.sizeLimit != "" {
			limit = new(resource.MustParse(c.sizeLimit))
		}
		if got := pod.MemoryVolumeBytes(p, limit, c.allocatable); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
