package pod

import (
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"
	"k8s.io/kubectl/pkg/util/qos"

	"headway.dev/manifests/model/podspec"
	"headway.dev/nodes/runtime"
)

const (
	minShares   = 2
	maxShares   = 262144
	quotaPeriod = 100000 // microseconds, the kernel's and the kubelet's default
	minQuota    = 1000
)

// ContainerResources turns a container's requests and limits into cgroup
// values, as the kubelet does. One without a limit can have all that its pod can.
func ContainerResources(p *corev1.Pod, c *corev1.Container) runtime.Resources {
	limit := limitsOf(p, c)
	request := podspec.Milli(*c.Resources.Requests.Cpu())
	if _, ok := c.Resources.Requests[corev1.ResourceCPU]; !ok {
		request = podspec.Milli(*limit.Cpu())
	}
	return limits(request, podspec.Milli(*limit.Cpu()), podspec.Whole(*limit.Memory()))
}

// limitsOf are the limits of a container, or those of its pod where it has none.
func limitsOf(p *corev1.Pod, c *corev1.Container) corev1.ResourceList {
	list := c.Resources.Limits.DeepCopy()
	if !resource.IsPodLevelLimitsSet(p) {
		return list
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		own := list[name]
		if q, ok := p.Spec.Resources.Limits[name]; ok && own.IsZero() {
			if list == nil {
				list = corev1.ResourceList{}
			}
			list[name] = q.DeepCopy()
		}
	}
	return list
}

// Resources bounds the whole pod: a limit only if every container has one, or the pod
// has one of its own.
func Resources(p *corev1.Pod) runtime.Resources {
	all := map[corev1.ResourceName]bool{corev1.ResourceCPU: true, corev1.ResourceMemory: true}
	check := func(c *corev1.Container) {
		for name := range all {
			if q, ok := c.Resources.Limits[name]; !ok || q.IsZero() {
				all[name] = false
			}
		}
	}
	for i := range p.Spec.Containers {
		check(&p.Spec.Containers[i])
	}
	for i := range p.Spec.InitContainers {
		check(&p.Spec.InitContainers[i])
	}
	if r := p.Spec.Resources; r != nil {
		for name := range all {
			if q, ok := r.Limits[name]; ok && !q.IsZero() {
				all[name] = true
			}
		}
	}
	requests := resource.PodRequests(p, resource.PodResourcesOptions{})
	bounds := resource.PodLimits(p, resource.PodResourcesOptions{})
	var cpu, memory int64
	if all[corev1.ResourceCPU] {
		cpu = podspec.Milli(*bounds.Cpu())
	}
	if all[corev1.ResourceMemory] {
		memory = podspec.Whole(*bounds.Memory())
	}
	return limits(podspec.Milli(*requests.Cpu()), cpu, memory)
}

// MemoryVolumeBytes returns the size of an emptyDir in memory: the smallest of
// its own limit, the pod's, and what the node gives to all pods, as in the
// kubelet. Zero leaves it to the kernel.
func MemoryVolumeBytes(p *corev1.Pod, sizeLimit *apiresource.Quantity, allocatable corev1.ResourceList) int64 {
	size := podspec.Whole(*allocatable.Memory())
	bounds := []int64{Resources(p).MemoryBytes}
	if sizeLimit != nil {
		bounds = append(bounds, podspec.Whole(*sizeLimit))
	}
	for _, bound := range bounds {
		if bound > 0 && (size == 0 || bound < size) {
			size = bound
		}
	}
	return size
}

func limits(requestMilli, limitMilli, memory int64) runtime.Resources {
	r := runtime.Resources{CPUShares: minShares, MemoryBytes: memory}
	if requestMilli > 0 {
		r.CPUShares = uint64(min(max(requestMilli*1024/1000, minShares), maxShares))
	}
	if limitMilli > 0 {
		r.CPUPeriod = quotaPeriod
		r.CPUQuota = max(limitMilli*(quotaPeriod/1000), minQuota)
	}
	return r
}

// OOMScoreAdj determines how early the kernel kills a container when the
// machine runs out of memory: the larger the request, the later. memoryCapacity
// is the machine's memory in bytes.
func OOMScoreAdj(p *corev1.Pod, c *corev1.Container, memoryCapacity int64) int {
	const guaranteed = -997
	if p.Spec.PriorityClassName == "system-node-critical" {
		return guaranteed
	}
	switch qos.GetPodQOS(p) {
	case corev1.PodQOSGuaranteed:
		return guaranteed
	case corev1.PodQOSBestEffort:
		return 1000
	case corev1.PodQOSBurstable: // by its request, below
	}
	if memoryCapacity <= 0 {
		return 999
	}
	score := 1000 - int(1000*(podspec.Whole(*c.Resources.Requests.Memory())+unclaimed(p))/memoryCapacity)
	return min(max(score, 1000+guaranteed), 999)
}

// unclaimed is a container's share of the memory that a pod requests beyond what its
// containers do.
func unclaimed(p *corev1.Pod) int64 {
	if !resource.IsPodLevelRequestsSet(p) || p.Spec.Resources.Requests.Memory().IsZero() {
		return 0
	}
	claimed := resource.AggregateContainerRequests(p, resource.PodResourcesOptions{})
	return (podspec.Whole(*p.Spec.Resources.Requests.Memory()) - podspec.Whole(*claimed.Memory())) / int64(len(p.Spec.Containers)+len(p.Spec.InitContainers))
}
