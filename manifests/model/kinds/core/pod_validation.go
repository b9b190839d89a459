package core

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

func validatePod(p *corev1.Pod) field.ErrorList {
	errs := podspec.Validate(&p.Spec, rule.Spec, true)
	errs = append(errs, podspec.TrimmedImages(p.Spec.Containers, rule.Spec.Child("containers"))...)
	return append(errs, podspec.TrimmedImages(p.Spec.InitContainers, rule.Spec.Child("initContainers"))...)
}

// validatePodCreate holds for new pods, as what it is about comes later or is done by
// then.
func validatePodCreate(p *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(rule.Spec.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if len(p.Spec.SchedulingGates) > 0 && p.Spec.NodeName != "" {
		errs = append(errs, field.Forbidden(rule.Spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

// updatable is what the message lists, in its order.
var updatable = strings.Join([]string{
	"`spec.containers[*].image`",
	"`spec.initContainers[*].image`",
	"`spec.activeDeadlineSeconds`",
	"`spec.tolerations` (only additions to existing tolerations)",
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
}, ",")

// validatePodUpdate allows the few fields that an agent can follow in a running pod.
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList {
	errs := podspec.TrimmedImages(p.Spec.Containers, rule.Spec.Child("containers"))
	for list, counts := range map[string][2]int{
		"containers":     {len(p.Spec.Containers), len(old.Spec.Containers)},
		"initContainers": {len(p.Spec.InitContainers), len(old.Spec.InitContainers)},
	} {
		if counts[0] != counts[1] {
			return append(errs, field.Forbidden(rule.Spec.Child(list), "pod updates may not add or remove containers"))
		}
	}
	errs = append(errs, images(p.Spec.Containers, rule.Spec.Child("containers"))...)
	errs = append(errs, images(p.Spec.InitContainers, rule.Spec.Child("initContainers"))...)
	errs = append(errs, deadlineUpdate(p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds)...)
	errs = append(errs, tolerationsUpdate(p.Spec.Tolerations, old.Spec.Tolerations, rule.Spec.Child("tolerations"))...)
	for i, gate := range p.Spec.SchedulingGates {
		if !slices.Contains(old.Spec.SchedulingGates, gate) {
			errs = append(errs, field.Forbidden(rule.Spec.Child("schedulingGates").Index(i).Child("name"),
				fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", gate.Name)))
		}
	}
	if rest := withoutUpdatable(p, old); !equality.Semantic.DeepEqual(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(rule.Spec, fmt.Sprintf("pod updates may not change fields other than %s\n%v", updatable, diff.Diff(old.Spec, *rest))))
	}
	return errs
}

// withoutUpdatable is p's spec with old's values in the fields that may change.
func withoutUpdatable(p, old *corev1.Pod) *corev1.PodSpec {
	rest := p.Spec.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	rest.Tolerations = old.Spec.Tolerations
	rest.SchedulingGates = old.Spec.SchedulingGates
	was, is := old.Spec.TerminationGracePeriodSeconds, rest.TerminationGracePeriodSeconds
	if was != nil && *was < 0 && is != nil && *is == 1 {
		rest.TerminationGracePeriodSeconds = was
	}
	return rest
}

func images(list []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, c := range list {
		if c.Image == "" {
			errs = append(errs, field.Required(path.Index(i).Child("image"), ""))
		}
	}
	return errs
}

func deadlineUpdate(deadline, old *int64) field.ErrorList {
	path := rule.Spec.Child("activeDeadlineSeconds")
	if deadline == nil {
		if old != nil {
			return field.ErrorList{field.Invalid(path, deadline, "must not update from a positive integer to nil value")}
		}
		return nil
	}
	if *deadline < 0 || *deadline > math.MaxInt32 {
		return field.ErrorList{field.Invalid(path, *deadline, validation.InclusiveRangeError(0, math.MaxInt32))}
	}
	if old != nil && *old < *deadline {
		return field.ErrorList{field.Invalid(path, *deadline, "must be less than or equal to previous value")}
	}
	return nil
}

// tolerationsUpdate allows additions and other seconds.
func tolerationsUpdate(list, old []corev1.Toleration, path *field.Path) field.ErrorList {
	for _, o := range old {
		kept := slices.ContainsFunc(list, func(t corev1.Toleration) bool {
			t.TolerationSeconds = o.TolerationSeconds
			return t == o
		})
		if !kept {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return podspec.Tolerations(list, path)
}

func validatePodStatus(p, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	if name := p.Status.NominatedNodeName; name != "" {
		errs = append(errs, rule.DNSSubdomain(name, rule.Status.Child("nominatedNodeName"))...)
	}
	for i, condition := range p.Status.Conditions {
		if condition.Type == "" {
			errs = append(errs, field.Required(rule.Status.Child("conditions").Index(i).Child("type"), ""))
		}
	}
	for i, ip := range p.Status.PodIPs {
		errs = append(errs, validation.IsValidIPForLegacyField(rule.Status.Child("podIPs").Index(i), ip.IP, true, nil)...)
	}
	for i, ip := range p.Status.HostIPs {
		errs = append(errs, validation.IsValidIPForLegacyField(rule.Status.Child("hostIPs").Index(i), ip.IP, true, nil)...)
	}
	return append(errs, noResurrection(p.Status.ContainerStatuses, old, rule.Status.Child("containerStatuses"))...)
}

// noResurrection refuses a container that runs again although its pod's policy
// says that it does not.
func noResurrection(list []corev1.ContainerStatus, old *corev1.Pod, path *field.Path) field.ErrorList {
	policy := old.Spec.RestartPolicy
	if policy != corev1.RestartPolicyNever && policy != corev1.RestartPolicyOnFailure {
		return nil
	}
	var errs field.ErrorList
	for _, was := range old.Status.ContainerStatuses {
		ended := was.State.Terminated
		if ended == nil || policy == corev1.RestartPolicyOnFailure && ended.ExitCode != 0 {
			continue
		}
		for i, is := range list {
			if is.Name == was.Name && is.State.Terminated == nil {
				errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}
