package placement

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// What a container that requests nothing is scored as, so that such pods
// spread too; it does not count for whether a pod fits.
const (
	defaultMilliCPU = 100
	defaultMemory   = 200 * 1024 * 1024
)

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
func (r *resources) add(other resources, sign int64) {
	r.milliCPU += sign * other.milliCPU
	r.memory += sign * other.memory
	r.ephemeral += sign * other.ephemeral
	for name, v := range other.others {
		if r.others == nil {
			r.others = map[corev1.ResourceName]int64{}
		}
		r.others[name] += sign * v
	}
}

// requests returns what a pod asks for, and what it is scored as.
func requests(pod *corev1.Pod) (exact, scored resources) {
	exact = resourcesOf(resource.PodRequests(pod, resource.PodResourcesOptions{UseStatusResources: true}))
	scored = exact
	scored.milliCPU, scored.memory = 0, 0
	for i := range pod.Spec.Containers {
		list := pod.Spec.Containers[i].Resources.Requests
		cpu, memory := int64(defaultMilliCPU), int64(defaultMemory)
		if q, ok := list[corev1.ResourceCPU]; ok {
			cpu = q.MilliValue()
		}
		if q, ok := list[corev1.ResourceMemory]; ok {
			memory = q.Value()
		}
		scored.milliCPU += cpu
		scored.memory += memory
	}
	scored.milliCPU = max(scored.milliCPU, exact.milliCPU)
	scored.memory = max(scored.memory, exact.memory)
	return exact, scored
}
