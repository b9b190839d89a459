package pod_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// Containers without limits can have what their pod can; the pod's own amounts bound
// it, and what it requests beyond its containers counts for each when memory runs out.
func TestAmountsOfPods(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	p := newPod()
	p.Spec.Resources = &corev1.ResourceRequirements{Requests: list("1", "1Gi"), Limits: list("2", "2Gi")}
	p.Spec.Containers = []corev1.Container{{Name: "free"}, {Name: "bound", Resources: corev1.ResourceRequirements{Requests: list("250m", "512Mi"), Limits: list("500m", "512Mi")}}}
	quota := func(shares uint64, milli, bytes int64) runtime.Resources {
		return runtime.Resources{CPUShares: shares, CPUQuota: milli * 100, CPUPeriod: 100000, MemoryBytes: bytes}
	}
	for what, c := range map[string]struct{ got, want any }{
		"the pod":              {pod.Resources(p), quota(1024, 2000, 2<<30)},
		"one without limits":   {pod.ContainerResources(p, &p.Spec.Containers[0]), quota(2048, 2000, 2<<30)},
		"one with limits":      {pod.ContainerResources(p, &p.Spec.Containers[1]), quota(256, 500, 512<<20)},
		"the class":            {pod.SandboxConfig(p, "").QOSClass, "Burstable"},
		"the score of the one": {pod.OOMScoreAdj(p, &p.Spec.Containers[0], 4<<30), 938},
		"the score of another": {pod.OOMScoreAdj(p, &p.Spec.Containers[1], 4<<30), 813},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	value, err := pod.ResourceValue(p, nil, &corev1.ResourceFieldSelector{ContainerName: "free", Resource: "limits.memory"}, pod.Facts{Allocatable: list("8", "8Gi")})
	if err != nil || value != "2147483648" {
		t.Errorf("limits.memory is %s, %v; want the pod's, 2147483648", value, err)
	}
	p.Spec.Resources.Limits = list("1", "1Gi")
	if got := pod.SandboxConfig(p, "").QOSClass; got != "Guaranteed" {
		t.Errorf("a pod with equal amounts is %s, want Guaranteed", got)
	}
}
