package fill

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Requests makes requests of the limits of what is not requested.
func Requests(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		set(&r.Requests, name, limit.DeepCopy)
	}
}

// PodResources completes what the containers of a pod share, where it says anything of
// that: it asks for as much as they do together, or for what it is limited to, and has
// their limits, if each of them has one. It counts on what they are given by admission.
func PodResources(spec *corev1.PodSpec) {
	r := spec.Resources
	if r == nil || len(r.Limits)+len(r.Requests) == 0 {
		return
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: spec.InitContainers, Containers: spec.Containers}}
	requests := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	limits := resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{})
	huge := func(name corev1.ResourceName) bool {
		return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
	}
	for name, sum := range limits {
		if _, requested := r.Requests[name]; huge(name) && !requested {
			set(&r.Limits, name, sum.DeepCopy)
		}
	}
	for name, sum := range requests {
		if resourcehelper.IsSupportedPodLevelResource(name) && !huge(name) {
			set(&r.Requests, name, sum.DeepCopy)
		}
	}
	Requests(r)
	for name, request := range r.Requests {
		if !everyContainerLimits(spec, name) {
			continue
		}
		limit := limits[name]
		if request.Cmp(limit) > 0 {
			limit = request
		}
		set(&r.Limits, name, limit.DeepCopy)
	}
}

// set adds an amount to a list that has none of the name.
func set(list *corev1.ResourceList, name corev1.ResourceName, amount func() resource.Quantity) {
	if _, has := (*list)[name]; has {
		return
	}
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = amount()
}

func everyContainerLimits(spec *corev1.PodSpec, name corev1.ResourceName) bool {
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			if _, ok := containers[i].Resources.Limits[name]; !ok {
				return false
			}
		}
	}
	return len(spec.Containers) > 0
}
