package podspec

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Narrowed allows a pod that is not to be scheduled yet to ask for fewer nodes than
// old did. What it asks for is taken back in s, the rest of which must not change.
func Narrowed(s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !equality.Semantic.DeepEqual(s.NodeSelector, old.NodeSelector) {
		for key, value := range old.NodeSelector {
			if now, ok := s.NodeSelector[key]; !ok || now != value {
				errs = append(errs, field.Invalid(path.Child("nodeSelector"), s.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
				break
			}
		}
		s.NodeSelector = maps.Clone(old.NodeSelector)
	}
	now, was := nodeAffinity(s), nodeAffinity(old)
	if equality.Semantic.DeepEqual(now, was) {
		return errs
	}
	errs = append(errs, narrowedTerms(requiredTerms(now), requiredTerms(was), was != nil && was.RequiredDuringSchedulingIgnoredDuringExecution != nil,
		path.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"))...)
	switch {
	case s.Affinity == nil:
		s.Affinity = &corev1.Affinity{NodeAffinity: was}
	case old.Affinity == nil && s.Affinity.PodAffinity == nil && s.Affinity.PodAntiAffinity == nil:
		s.Affinity = nil
	default:
		s.Affinity.NodeAffinity = was
	}
	return errs
}

func nodeAffinity(s *corev1.PodSpec) *corev1.NodeAffinity {
	if s.Affinity == nil {
		return nil
	}
	return s.Affinity.NodeAffinity
}

func requiredTerms(a *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
	if a == nil || a.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

// narrowedTerms allows terms to come where there were none, and requirements to be
// added to each of those that there are.
func narrowedTerms(list, old []corev1.NodeSelectorTerm, required bool, path *field.Path) field.ErrorList {
	if !required {
		return nil
	}
	if len(old) > 0 && len(old) != len(list) {
		return field.ErrorList{field.Invalid(path, list, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	var errs field.ErrorList
	for i := range old {
		if !onlyAdded(&list[i], &old[i]) {
			errs = append(errs, field.Invalid(path.Index(i), list[i], "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

// onlyAdded: a term without requirements matches nothing, and stays so.
func onlyAdded(t, old *corev1.NodeSelectorTerm) bool {
	if len(old.MatchExpressions)+len(old.MatchFields) == 0 {
		return len(t.MatchExpressions)+len(t.MatchFields) == 0
	}
	begins := func(list, old []corev1.NodeSelectorRequirement) bool {
		return len(list) >= len(old) && equality.Semantic.DeepEqual(slices.Clip(list[:len(old)]), old)
	}
	return begins(t.MatchExpressions, old.MatchExpressions) && begins(t.MatchFields, old.MatchFields)
}
