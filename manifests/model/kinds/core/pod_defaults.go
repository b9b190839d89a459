package core

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"headway.dev/manifests/model/fill"
)

// defaultPod sets what templates leave to the pods made from them, too. The rest
// depends on the cluster, whose admission sets it.
func defaultPod(p *corev1.Pod) {
	fill.PodSpec(&p.Spec)
	fill.Unset(&p.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			requestsFromLimits(&containers[i].Resources)
			if p.Spec.HostNetwork {
				hostPorts(containers[i].Ports)
			}
		}
	}
	podLimits(p)
	podRequests(p)
	fill.Zero(&p.Status.Phase, corev1.PodPending)
}

func hostPorts(ports []corev1.ContainerPort) {
	for i := range ports {
		fill.Zero(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

func requestsFromLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

// podLimits gives a pod with amounts of its own the limits of its containers, if each
// of them has one.
func podLimits(p *corev1.Pod) {
	r := p.Spec.Resources
	if r == nil || len(r.Limits)+len(r.Requests) == 0 {
		return
	}
	sums := resourcehelper.AggregateContainerLimits(p, resourcehelper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if _, set := r.Limits[name]; set || !everyContainerLimits(p, name) {
			continue
		}
		if r.Limits == nil {
			r.Limits = corev1.ResourceList{}
		}
		r.Limits[name] = sums[name].DeepCopy()
	}
}

func everyContainerLimits(p *corev1.Pod, name corev1.ResourceName) bool {
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			if _, ok := containers[i].Resources.Limits[name]; !ok {
				return false
			}
		}
	}
	return len(p.Spec.Containers) > 0
}

// podRequests gives a pod with limits of its own the requests of its
// containers, or its limits where they have none.
func podRequests(p *corev1.Pod) {
	r := p.Spec.Resources
	if r == nil || len(r.Limits) == 0 {
		return
	}
	for name, sum := range resourcehelper.AggregateContainerRequests(p, resourcehelper.PodResourcesOptions{}) {
		_, limited := r.Limits[name]
		if _, set := r.Requests[name]; limited && !set && resourcehelper.IsSupportedPodLevelResource(name) {
			if r.Requests == nil {
				r.Requests = corev1.ResourceList{}
			}
			r.Requests[name] = sum.DeepCopy()
		}
	}
	requestsFromLimits(r)
}
