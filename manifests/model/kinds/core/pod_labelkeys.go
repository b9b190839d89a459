package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keyed is a selector of pods that is narrowed by labels of the pod that has it.
type keyed struct {
	selector        **metav1.LabelSelector
	match, mismatch []string
}

// keyedSelectors are the selectors of a pod's affinity and topology spread that are
// narrowed so, of copies: what pods are made of is not changed.
func keyedSelectors(pod *corev1.Pod) []keyed {
	narrowed := func(t *corev1.PodAffinityTerm) bool { return len(t.MatchLabelKeys)+len(t.MismatchLabelKeys) > 0 }
	if slices.ContainsFunc(affinityTerms(pod), narrowed) {
		pod.Spec.Affinity = pod.Spec.Affinity.DeepCopy()
	}
	var list []keyed
	for _, t := range affinityTerms(pod) {
		if narrowed(t) && t.LabelSelector != nil {
			list = append(list, keyed{&t.LabelSelector, t.MatchLabelKeys, t.MismatchLabelKeys})
		}
	}
	narrows := func(c corev1.TopologySpreadConstraint) bool { return len(c.MatchLabelKeys) > 0 }
	if slices.ContainsFunc(pod.Spec.TopologySpreadConstraints, narrows) {
		pod.Spec.TopologySpreadConstraints = slices.Clone(pod.Spec.TopologySpreadConstraints)
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		if c := &pod.Spec.TopologySpreadConstraints[i]; narrows(*c) && c.LabelSelector != nil {
			c.LabelSelector = c.LabelSelector.DeepCopy()
			list = append(list, keyed{&c.LabelSelector, c.MatchLabelKeys, nil})
		}
	}
	return list
}

func affinityTerms(pod *corev1.Pod) []*corev1.PodAffinityTerm {
	a := pod.Spec.Affinity
	if a == nil {
		return nil
	}
	var list []*corev1.PodAffinityTerm
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			list = append(list, &required[i])
		}
		for i := range preferred {
			list = append(list, &preferred[i].PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		add(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		add(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return list
}

// mergeLabelKeys writes the values that a new pod's labels have by its matchLabelKeys
// and mismatchLabelKeys into the selectors, where everybody can read them. It is
// idempotent.
func mergeLabelKeys(pod *corev1.Pod) {
	for _, k := range keyedSelectors(pod) {
		s := *k.selector
		add := func(keys []string, op metav1.LabelSelectorOperator) {
			for _, key := range keys {
				value, ok := pod.Labels[key]
				if !ok {
					continue
				}
				e := metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}}
				if !slices.ContainsFunc(s.MatchExpressions, func(o metav1.LabelSelectorRequirement) bool { return equality.Semantic.DeepEqual(o, e) }) {
					s.MatchExpressions = append(s.MatchExpressions, e)
				}
			}
		}
		add(k.match, metav1.LabelSelectorOpIn)
		add(k.mismatch, metav1.LabelSelectorOpNotIn)
	}
}

// keepLabelKeys gives the selectors of a pod that are as its manifest has them what was
// merged into them when it was created, so that to apply the manifest again changes
// nothing.
func keepLabelKeys(pod, old *corev1.Pod) {
	next, was := keyedSelectors(pod), keyedSelectors(old.DeepCopy())
	if len(next) != len(was) {
		return // which is refused
	}
	for i, k := range next {
		o := was[i]
		if slices.Equal(k.match, o.match) && slices.Equal(k.mismatch, o.mismatch) && equality.Semantic.DeepEqual(o.unmerged(), *k.selector) {
			*k.selector = (*o.selector).DeepCopy()
		}
	}
}

// unmerged is the selector without what was merged into it, which stands at its end.
func (k keyed) unmerged() *metav1.LabelSelector {
	s := (*k.selector).DeepCopy()
	for range len(k.match) + len(k.mismatch) {
		at := len(s.MatchExpressions) - 1
		if at < 0 {
			break
		}
		e := s.MatchExpressions[at]
		merged := e.Operator == metav1.LabelSelectorOpIn && slices.Contains(k.match, e.Key) ||
			e.Operator == metav1.LabelSelectorOpNotIn && slices.Contains(k.mismatch, e.Key)
		if !merged || len(e.Values) != 1 {
			break
		}
		s.MatchExpressions = s.MatchExpressions[:at]
	}
	return s
}
