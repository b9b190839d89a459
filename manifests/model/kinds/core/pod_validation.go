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
	netutils "k8s.io/utils/net"

	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

func validatePod(p *corev1.Pod) field.ErrorList {
	errs := podspec.Validate(&p.Spec, rule.Spec, true)
	errs = append(errs, podspec.OwnClaims(p, rule.Spec.Child("volumes"))...)
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
	const changed = "pod updates may not add or remove containers"
	if len(p.Spec.Containers) != len(old.Spec.Containers) {
		return append(errs, field.Forbidden(rule.Spec.Child("containers"), changed))
	}
	if len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return append(errs, field.Forbidden(rule.Spec.Child("initContainers"), changed))
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
	rest := withoutUpdatable(p, old)
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, podspec.Narrowed(rest, &old.Spec, rule.Spec)...)
	}
	if !equality.Semantic.DeepEqual(*rest, old.Spec) {
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
	if name := p.Status.NominatedNodeName; name != "" && name != old.Status.NominatedNodeName {
		errs = append(errs, rule.DNSSubdomain(name, rule.Status.Child("nominatedNodeName"))...)
	}
	for i, condition := range p.Status.Conditions {
		if n := condition.ObservedGeneration; n < 0 {
			errs = append(errs, field.Invalid(rule.Metadata.Child("conditions").Index(i).Child("observedGeneration"), n, "must be a non-negative integer"))
		}
		// That they are said to be in the metadata, and the capital, are the API's.
		errs = append(errs, rule.QualifiedName(string(condition.Type), rule.Metadata.Child("conditions").Index(i).Child("Type"))...)
	}
	pods, hosts := rule.Status.Child("podIPs"), rule.Status.Child("hostIPs")
	errs = append(errs, podIPs(p.Status.PodIPs, func(ip corev1.PodIP) string { return ip.IP }, pods)...)
	if list := p.Status.HostIPs; len(list) > 0 && list[0].IP != p.Status.HostIP {
		errs = append(errs, field.Invalid(hosts.Index(0).Child("ip"), list[0].IP, "must be equal to `hostIP`"))
	}
	errs = append(errs, podIPs(p.Status.HostIPs, func(ip corev1.HostIP) string { return ip.IP }, hosts)...)
	policy := old.Spec.RestartPolicy
	errs = append(errs, noResurrection(p.Status.ContainerStatuses, old.Status.ContainerStatuses, policy, rule.Status.Child("containerStatuses"))...)
	ended := slices.Clone(old.Status.InitContainerStatuses)
	for i := range ended {
		if restarts(old, ended[i].Name) {
			ended[i].State.Terminated = nil
		}
	}
	errs = append(errs, noResurrection(p.Status.InitContainerStatuses, ended, policy, rule.Status.Child("initContainerStatuses"))...)
	// Nothing restarts these.
	return append(errs, noResurrection(p.Status.EphemeralContainerStatuses, old.Status.EphemeralContainerStatuses, corev1.RestartPolicyNever, rule.Status.Child("ephemeralContainerStatuses"))...)
}

// restarts reports whether an init container runs as long as the pod.
func restarts(p *corev1.Pod, name string) bool {
	return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == name && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

// noResurrection refuses a container that runs again although its pod's policy
// says that it does not. The place is that of the old status, as in the API.
func noResurrection(list, old []corev1.ContainerStatus, policy corev1.RestartPolicy, path *field.Path) field.ErrorList {
	if policy == corev1.RestartPolicyAlways {
		return nil
	}
	var errs field.ErrorList
	for i, was := range old {
		ended := was.State.Terminated
		if ended == nil || policy == corev1.RestartPolicyOnFailure && ended.ExitCode != 0 {
			continue
		}
		for _, is := range list {
			if is.Name == was.Name && is.State.Terminated == nil {
				errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}

// podIPs requires at most one address of each family.
func podIPs[T comparable](list []T, text func(T) string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	texts := make([]string, len(list))
	for i, ip := range list {
		texts[i] = text(ip)
		errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i), texts[i], true, nil)...)
	}
	if len(list) < 2 {
		return errs
	}
	both, err := netutils.IsDualStackIPStrings(texts)
	if err != nil {
		errs = append(errs, field.InternalError(path, fmt.Errorf("failed to check for dual stack with error:%w", err)))
	}
	if !both || len(list) > 2 {
		errs = append(errs, field.Invalid(path, list, "may specify no more than one IP for each IP family"))
	}
	return append(errs, rule.Twice(path, "", list, func(ip T) any { return ip })...)
}
