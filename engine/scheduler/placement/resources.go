package placement

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"

	"headway.dev/manifests/model/podspec"
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
			r.milliCPU = podspec.Milli(q)
		case corev1.ResourceMemory:
			r.memory = podspec.Whole(q)
		case corev1.ResourceEphemeralStorage:
			r.ephemeral = podspec.Whole(q)
		case corev1.ResourcePods:
		default:
			if v := podspec.Whole(q); v != 0 {
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
	r.addCommon(other, sign)
	for name, v := range other.others {
		if r.others == nil {
			r.others = map[corev1.ResourceName]int64{}
		}
		if r.others[name] += sign * v; r.others[name] == 0 {
			delete(r.others, name)
		}
	}
}

// addCommon adds what every node has, and no extended resources.
func (r *resources) addCommon(other *resources, sign int64) {
	r.milliCPU += sign * other.milliCPU
	r.memory += sign * other.memory
	r.ephemeral += sign * other.ephemeral
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

// short are the verdicts about the resources that each node has, by the bits of
// those that do not suffice; the last bit is whether that is final.
var short = func() (list [1 << 5]*verdict) {
	for bits := range list {
		v := &verdict{final: bits&16 != 0, cause: ByRoom}
		for i, reason := range [...]string{"Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient ephemeral-storage"} {
			if bits&(1<<i) != 0 {
				v.reasons = append(v.reasons, reason)
			}
		}
		list[bits] = v
	}
	return list
}()

// fits compares what is left of each resource with what the pod requests.
func (n *nodeInfo) fits(p *podInfo) *verdict { return n.fitsBeside(p, &n.requested, len(n.pods)) }

// fitsBeside asks as if the node had other pods, which take used.
func (n *nodeInfo) fitsBeside(p *podInfo, used *resources, pods int) *verdict {
	bits := 0
	if int64(pods)+1 > n.maxPods {
		bits = 1
	}
	check := func(bit int, want, used, have int64) {
		if want > 0 && want > have-used {
			bits |= bit
			if want > have {
				bits |= 16
			}
		}
	}
	check(2, p.exact.milliCPU, used.milliCPU, n.allocatable.milliCPU)
	check(4, p.exact.memory, used.memory, n.allocatable.memory)
	check(8, p.exact.ephemeral, used.ephemeral, n.allocatable.ephemeral)
	if len(p.exact.others) > 0 {
		if v := n.others(p, used, bits); v != nil {
			return v
		}
	}
	if bits == 0 {
		return nil
	}
	return short[bits]
}

// others adds extended resources and huge pages to what the bits say; nil if
// there are enough.
func (n *nodeInfo) others(p *podInfo, used *resources, bits int) *verdict {
	v := &verdict{reasons: slices.Clone(short[bits].reasons), final: short[bits].final, cause: ByRoom}
	enough := true
	for _, name := range slices.Sorted(maps.Keys(p.exact.others)) {
		want, have := p.exact.others[name], n.allocatable.others[name]
		if want > 0 && want > have-used.others[name] && !p.profile.Ignores(name) {
			enough = false
			v.reasons = append(v.reasons, "Insufficient "+string(name))
			v.final = v.final || want > have
		}
	}
	if enough {
		return nil
	}
	return v
}
