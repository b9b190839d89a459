package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubectl/pkg/util/qos"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

// resize is how a pod is given more or less CPU and memory without being replaced.
// https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
var resize = kind.Part[*corev1.Pod]{
	Name: "resize", Declared: true,
	Fields: []string{
		"spec.containers.*.resources", "spec.containers.*.resizePolicy",
		"spec.initContainers.*.resources", "spec.initContainers.*.resizePolicy",
	},
	Update: func(pod, old *corev1.Pod) {
		asked := pod.Spec
		pod.Spec = *old.Spec.DeepCopy()
		pod.Spec.Containers = sized(pod.Spec.Containers, asked.Containers)
		pod.Spec.InitContainers = sized(pod.Spec.InitContainers, asked.InitContainers)
		if asked.Resources != nil {
			pod.Spec.Resources = asked.Resources // a change is refused by its name
		}
	},
	Over: func(pod *corev1.Pod) string {
		if phase := pod.Status.Phase; phase == corev1.PodSucceeded || phase == corev1.PodFailed {
			return fmt.Sprintf("the pod has %s and does not run again", strings.ToLower(string(phase)))
		}
		return ""
	},
	Rules: validateResize,
}

// sized gives the containers the resources that list asks for. Other containers are
// left to validation.
func sized(containers, list []corev1.Container) []corev1.Container {
	if !slices.EqualFunc(containers, list, func(a, b corev1.Container) bool { return a.Name == b.Name }) {
		return list
	}
	for i := range containers {
		containers[i].Resources, containers[i].ResizePolicy = list[i].Resources, list[i].ResizePolicy
	}
	return containers
}

func validateResize(pod, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	if !equality.Semantic.DeepEqual(pod.Spec.Resources, old.Spec.Resources) {
		errs = append(errs, field.Forbidden(rule.Spec.Child("resources"), "not supported yet: a pod is resized by what its containers have; the pod's own amounts stay"))
	}
	errs = append(errs, validatePod(pod)...)
	if qos.GetPodQOS(old) != qos.ComputePodQOS(pod) {
		errs = append(errs, field.Invalid(rule.Spec, pod.Status.QOSClass, "Pod QOS Class may not change as a result of resizing"))
	}
	if !tellsResources(old) {
		errs = append(errs, field.Forbidden(rule.Spec, "Pod running on node without support for resize"))
	}
	names := sameContainers(pod.Spec.Containers, old.Spec.Containers, "containers")
	if names = append(names, sameContainers(pod.Spec.InitContainers, old.Spec.InitContainers, "initContainers")...); len(names) > 0 {
		return append(errs, names...)
	}
	for i := range old.Spec.InitContainers {
		errs = append(errs, kept(&pod.Spec.InitContainers[i].Resources, &old.Spec.InitContainers[i].Resources, rule.Spec.Child("initContainers").Index(i).Child("resources"))...)
	}
	for i := range old.Spec.Containers {
		errs = append(errs, kept(&pod.Spec.Containers[i].Resources, &old.Spec.Containers[i].Resources, rule.Spec.Child("containers").Index(i).Child("resources"))...)
	}
	return append(errs, onlyComputeChanges(pod, old)...)
}

// onlyComputeChanges refuses what is no change of CPU or memory.
func onlyComputeChanges(pod, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	for i := range old.Spec.Containers {
		if !equality.Semantic.DeepEqual(withCompute(pod.Spec.Containers[i], &old.Spec.Containers[i]), old.Spec.Containers[i]) {
			errs = append(errs, field.Forbidden(rule.Spec, "only cpu and memory resources are mutable"))
		}
	}
	for i := range old.Spec.InitContainers {
		c, was, at := &pod.Spec.InitContainers[i], &old.Spec.InitContainers[i], rule.Spec.Child("initContainers").Index(i)
		if !equality.Semantic.DeepEqual(withCompute(*c, was), *was) {
			errs = append(errs, field.Forbidden(at, "only cpu and memory resources for init or sidecar containers are mutable"))
		}
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		if !sidecar && restartsToResize(c) && !equality.Semantic.DeepEqual(*c, *was) {
			errs = append(errs, field.Forbidden(at, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
		}
	}
	return errs
}

func restartsToResize(c *corev1.Container) bool {
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer {
			return true
		}
	}
	return false
}

// tellsResources reports whether the node says what a running container has, as those
// do that can change it.
func tellsResources(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true
}

func sameContainers(list, old []corev1.Container, name string) field.ErrorList {
	path := rule.Spec.Child(name)
	if len(list) != len(old) {
		return field.ErrorList{field.Forbidden(path, name+" may not be added or removed on resize")}
	}
	var errs field.ErrorList
	for i := range old {
		if list[i].Name != old[i].Name {
			errs = append(errs, field.Forbidden(path.Index(i).Child("name"), name+" may not be renamed or reordered on resize"))
		}
	}
	return errs
}

func kept(r, old *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	removed := func(list, old corev1.ResourceList) bool {
		for name := range old {
			if _, has := list[name]; !has {
				return true
			}
		}
		return false
	}
	var errs field.ErrorList
	if removed(r.Requests, old.Requests) {
		errs = append(errs, field.Forbidden(path.Child("requests"), "resource requests cannot be removed"))
	}
	if removed(r.Limits, old.Limits) {
		errs = append(errs, field.Forbidden(path.Child("limits"), "resource limits cannot be removed"))
	}
	return errs
}

// withCompute is c with the CPU and memory that old has.
func withCompute(c corev1.Container, old *corev1.Container) corev1.Container {
	put := func(list, old corev1.ResourceList) corev1.ResourceList {
		out := list.DeepCopy()
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			delete(out, name)
			if q, has := old[name]; has {
				if out == nil {
					out = corev1.ResourceList{}
				}
				out[name] = q
			}
		}
		return out
	}
	c.Resources.Limits, c.Resources.Requests = put(c.Resources.Limits, old.Resources.Limits), put(c.Resources.Requests, old.Resources.Requests)
	return c
}
