package quota

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/kubectl/pkg/util/qos"
	"k8s.io/utils/ptr"
)

// inScope reports whether a pod is one that a scope of a quota is about.
func inScope(s corev1.ScopedResourceSelectorRequirement, obj runtime.Object) (bool, error) {
	pod, err := podOf(obj)
	if err != nil {
		return false, err
	}
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return terminating(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !terminating(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return qos.ComputePodQOS(pod) == corev1.PodQOSBestEffort, nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return qos.ComputePodQOS(pod) != corev1.PodQOSBestEffort, nil
	case corev1.ResourceQuotaScopePriorityClass:
		var classes []string
		if class := pod.Spec.PriorityClassName; class != "" {
			classes = []string{class}
		}
		return selects(s, classes), nil
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(pod.Spec.Affinity), nil
	case corev1.ResourceQuotaScopeVolumeAttributesClass: // of claims
	}
	return false, nil
}

// claimInScope reports whether a claim is one that a scope of a quota is about: by its
// classes of attributes, the one that it asks for, the one that it has, and the one that
// it gets.
func claimInScope(s corev1.ScopedResourceSelectorRequirement, obj runtime.Object) (bool, error) {
	claim, err := claimOf(obj)
	if err != nil || s.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
		return false, err
	}
	var classes []string
	add := func(class string) {
		if class != "" {
			classes = append(classes, class)
		}
	}
	add(ptr.Deref(claim.Spec.VolumeAttributesClassName, ""))
	add(ptr.Deref(claim.Status.CurrentVolumeAttributesClassName, ""))
	if becomes := claim.Status.ModifyVolumeStatus; becomes != nil {
		add(becomes.TargetVolumeAttributesClassName)
	}
	return selects(s, classes), nil
}

// selects reports whether a scope asks for one of the classes, or for none.
func selects(s corev1.ScopedResourceSelectorRequirement, classes []string) bool {
	listed := func(class string) bool { return slices.Contains(s.Values, class) }
	switch s.Operator {
	case corev1.ScopeSelectorOpExists:
		return len(classes) > 0
	case corev1.ScopeSelectorOpDoesNotExist:
		return len(classes) == 0
	case corev1.ScopeSelectorOpIn:
		return slices.ContainsFunc(classes, listed)
	case corev1.ScopeSelectorOpNotIn:
		return len(classes) == 0 || slices.ContainsFunc(classes, func(class string) bool { return !listed(class) })
	}
	return false
}

// matching are the scopes that an object is in.
func matching(obj runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement, in generic.MatchesScopeFunc) ([]corev1.ScopedResourceSelectorRequirement, error) {
	var found []corev1.ScopedResourceSelectorRequirement
	for _, s := range scopes {
		is, err := in(s, obj)
		if err != nil {
			return nil, fmt.Errorf("error on matching scope %v: %w", s, err)
		}
		if is {
			found = append(found, s)
		}
	}
	return found, nil
}

// terminating reports whether a pod ends by itself at a time.
func terminating(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

// crossesNamespaces reports whether where a pod goes depends on pods of other
// namespaces.
func crossesNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	weighted := func(list []corev1.WeightedPodAffinityTerm) {
		for _, t := range list {
			terms = append(terms, t.PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		terms = append(terms, p.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		terms = append(terms, p.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}
