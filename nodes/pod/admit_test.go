package pod_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes/pod"
)

// TestAdmit: the reasons and messages are the kubelet's.
func TestAdmit(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"disk": "ssd", corev1.LabelOSStable: "linux"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "full", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi"),
			corev1.ResourcePods: resource.MustParse("3"), "example.com/card": resource.MustParse("1"),
		}},
	}
	asks := func(name corev1.ResourceName, amount string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{name: resource.MustParse(amount)}
		}
	}
	port := func(ip string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, ContainerPort: 80, HostIP: ip}}
		}
	}
	selects := func(value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": value} }
	}
	evicting := node.DeepCopy()
	evicting.Spec.Taints = append(evicting.Spec.Taints, corev1.Taint{Key: "down", Effect: corev1.TaintEffectNoExecute})
	for _, c := range []struct {
		name   string
		pod    *corev1.Pod
		node   *corev1.Node
		others []*corev1.Pod
		want   *pod.Rejection
	}{
		{"it fits", newPod(asks("cpu", "1500m"), port(""), selects("ssd")), node, []*corev1.Pod{newPod(asks("cpu", "500m"))}, nil},
		{"too many pods", newPod(), node, []*corev1.Pod{newPod(), newPod(), newPod()}, &pod.Rejection{
			Reason: "OutOfpods", Message: "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
		}},
		{"cpu", newPod(asks("cpu", "1600m")), node, []*corev1.Pod{newPod(asks("cpu", "500m"))}, &pod.Rejection{
			Reason: "OutOfcpu", Message: "Node didn't have enough resource: cpu, requested: 1600, used: 500, capacity: 2000",
		}},
		{"memory", newPod(asks("memory", "2Gi")), node, nil, &pod.Rejection{
			Reason: "OutOfmemory", Message: "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824",
		}},
		{"more memory than can be counted", newPod(func(p *corev1.Pod) {
			asks("memory", "8Ei")(p)
			p.Spec.Containers = append(p.Spec.Containers, p.Spec.Containers[0])
		}), node, nil, &pod.Rejection{
			Reason: "OutOfmemory", Message: "Node didn't have enough resource: memory, requested: 4503599627370496, used: 0, capacity: 1073741824",
		}},
		{"an extended resource", newPod(asks("example.com/card", "2")), node, nil, &pod.Rejection{
			Reason: "OutOfexample.com/card", Message: "Node didn't have enough resource: example.com/card, requested: 2, used: 0, capacity: 1",
		}},
		{"one the node does not know", newPod(asks("example.com/none", "1")), node, nil, nil},
		{"affinity", newPod(selects("hdd")), node, nil, &pod.Rejection{
			Reason: "NodeAffinity", Message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
		}},
		{"a port", newPod(port("")), node, []*corev1.Pod{newPod(port("192.0.2.1"))}, &pod.Rejection{
			Reason: "NodePorts", Message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
		}},
		{"a port of another address", newPod(port("192.0.2.2")), node, []*corev1.Pod{newPod(port("192.0.2.1"))}, nil},
		{"a taint that evicts", newPod(), evicting, nil, &pod.Rejection{
			Reason: "TaintToleration", Message: "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
		}},
		{"a selector of another system", newPod(func(p *corev1.Pod) {
			p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"}
		}), node, nil, &pod.Rejection{
			Reason: "NodeAffinity", Message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
		}},
		{"a label of another system", newPod(asks("cpu", "3"), func(p *corev1.Pod) {
			p.Labels = map[string]string{corev1.LabelOSStable: "windows"}
		}), node, nil, &pod.Rejection{
			Reason: "PodOSSelectorNodeLabelDoesNotMatch", Message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
		}},
		{"another system", newPod(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }), node, nil, &pod.Rejection{
			Reason: "PodOSNotSupported", Message: "Failed to admit pod as the OS field doesn't match node OS",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, pod.Admit(c.pod, c.node, c.others)); diff != "" {
				t.Errorf("rejection (-want +got):\n%s", diff)
			}
		})
	}
}
