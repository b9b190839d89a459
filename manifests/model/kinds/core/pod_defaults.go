package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/fill"
)

// defaultPod sets what templates leave to the pods made from them, too. The rest
// depends on the cluster, whose admission sets it.
func defaultPod(p *corev1.Pod) {
	fill.PodSpec(&p.Spec)
	fill.Unset(&p.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			fill.Requests(&containers[i].Resources)
			if p.Spec.HostNetwork {
				hostPorts(containers[i].Ports)
			}
		}
	}
	// Of templates this is only told.
	if grace := p.Spec.TerminationGracePeriodSeconds; grace != nil && *grace < 0 {
		p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	}
	fill.Zero(&p.Status.Phase, corev1.PodPending)
}

func hostPorts(ports []corev1.ContainerPort) {
	for i := range ports {
		fill.Zero(&ports[i].HostPort, ports[i].ContainerPort)
	}
}
