package placement

import (
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"
)

// unasked is what a container that requests nothing is scored as, so that such
// pods spread too; it does not count for whether a pod fits.
var unasked = corev1.ResourceList{
	corev1.ResourceCPU:    *apiresource.NewMilliQuantity(100, apiresource.DecimalSI),
	corev1.ResourceMemory: *apiresource.NewQuantity(200*1024*1024, apiresource.BinarySI),
}

// resources are amounts: CPU in thousandths, the others in their unit.
type resources struct {
	milliCPU, memory, ephemeral int64
	others                      map[corev1.ResourceName]int64
}

func resourcesOf(list corev1.ResourceList) resources {
	var r resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.milliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.ephemeral = q.Value()
		case corev1.ResourcePods:
		default:
			if v := q.Value(); v != 0 {
				if r.others == nil {
					r.others = map[corev1.ResourceName]int64{}
				}
				r.others[name] = v
			}
		}
	}
	return r
}

// add adds other sign times.
func (r *resources) add(other *resources, sign int64) {
	r.milliCPU += sign * other.milliCPU
	r.memory += sign * other.memory
	r.ephemeral += sign * other.ephemeral
	for name, v := range other.others {
		if r.others == nil {
			r.others = map[corev1.ResourceName]int64{}
		}
		if r.others[name] += sign * v; r.others[name] == 0 {
			delete(r.others, name)
		}
	}
}

// requests returns what a pod asks for, and what it is scored as.
func requests(pod *corev1.Pod) (exact, scored resources) {
	opts := resource.PodResourcesOptions{UseStatusResources: true}
	exact = resourcesOf(resource.PodRequests(pod, opts))
	if !asksForLess(pod) {
		return exact, exact
	}
	opts.NonMissingContainerRequests = unasked
	return exact, resourcesOf(resource.PodRequests(pod, opts))
}

// asksForLess reports whether a container requests no CPU or no memory.
func asksForLess(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			r := list[i].Resources.Requests
			if _, ok := r[corev1.ResourceCPU]; !ok {
				return true
			}
			if _, ok := r[corev1.ResourceMemory]; !ok {
				return true
			}
		}
	}
	return false
}
