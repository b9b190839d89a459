package pod

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// Containers are all containers of a pod: init, main and ephemeral ones.
func Containers(p *corev1.Pod) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
		for i := range p.Spec.EphemeralContainers {
			if !yield(asContainer(&p.Spec.EphemeralContainers[i])) {
				return
			}
		}
	}
}

// asContainer is an ephemeral container without its target: the two types are
// convertible by definition.
func asContainer(e *corev1.EphemeralContainer) *corev1.Container {
	return (*corev1.Container)(&e.EphemeralContainerCommon)
}

// Container returns a container of a pod by its name, or nil.
func Container(p *corev1.Pod, name string) *corev1.Container {
	for c := range Containers(p) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// ContainerStatus returns what a pod's status says of a container, or nil.
func ContainerStatus(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// target returns the container whose processes an ephemeral container sees; empty
// for none.
func target(p *corev1.Pod, name string) string {
	for _, e := range p.Spec.EphemeralContainers {
		if e.Name == name {
			return e.TargetContainerName
		}
	}
	return ""
}
