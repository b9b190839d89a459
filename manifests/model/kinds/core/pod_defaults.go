package core

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"headway.dev/manifests/model/fill"
)

// defaultPod sets what templates leave to the pods made from them, too: it depends
// on the admission to one cluster.
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
	podRequests(p)
	fill.Zero(&p.Spec.ServiceAccountName, "default")
	p.Spec.DeprecatedServiceAccount = p.Spec.ServiceAccountName
	priority(&p.Spec)
	tolerate(&p.Spec, corev1.TaintNodeNotReady)
	tolerate(&p.Spec, corev1.TaintNodeUnreachable)
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

// PriorityOf returns the priority of a PriorityClass, and whether the class
// exists: only the two that every cluster has exist. An empty name means no
// class.
func PriorityOf(class string) (int32, bool) {
	switch class {
	case "":
		return 0, true
	case "system-cluster-critical":
		return 2000000000, true
	case "system-node-critical":
		return 2000001000, true
	default:
		return 0, false
	}
}

func priority(spec *corev1.PodSpec) {
	if value, ok := PriorityOf(spec.PriorityClassName); ok {
		fill.Unset(&spec.Priority, value)
	}
	fill.Unset(&spec.PreemptionPolicy, corev1.PreemptLowerPriority)
}

// tolerationSeconds is how long a pod stays on a node that has gone bad.
const tolerationSeconds = 300

func tolerate(spec *corev1.PodSpec, taint string) {
	for _, t := range spec.Tolerations {
		if (t.Key == taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return
		}
	}
	seconds := int64(tolerationSeconds)
	spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
		Key: taint, Operator: corev1.TolerationOpExists,
		Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
	})
}
