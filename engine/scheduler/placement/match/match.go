// Package match says which pods the rules between pods are about: the terms of affinity
// and the constraints of a topology spread, and finds those that may be about a pod.
package match

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Namespaces are the labels of namespaces by name.
type Namespaces map[string]labels.Set

// Matcher selects pods by their namespaces and labels.
type Matcher struct {
	// Key is equal for equal matchers.
	Key        string
	Selector   labels.Selector
	Namespaces []string
	// Within selects namespaces by their labels besides; nil for none.
	Within labels.Selector
}

// Term is one of affinity between pods.
type Term struct {
	Matcher
	Topology string
	Weight   int64
}

// Matches reports whether a pod is among those that are selected.
func (m *Matcher) Matches(pod *corev1.Pod, in Namespaces) bool {
	if !slices.Contains(m.Namespaces, pod.Namespace) && (m.Within == nil || !m.Within.Matches(in[pod.Namespace])) {
		return false
	}
	return m.Selector.Matches(labels.Set(pod.Labels))
}

// All reports whether there are matchers, and all of them match.
func All(matchers []*Matcher, pod *corev1.Pod, in Namespaces) bool {
	for _, m := range matchers {
		if !m.Matches(pod, in) {
			return false
		}
	}
	return len(matchers) > 0
}

func (m *Matcher) seal() {
	var b strings.Builder
	for _, ns := range m.Namespaces {
		b.WriteString(ns)
		b.WriteByte(',')
	}
	b.WriteByte('/')
	if m.Within != nil {
		b.WriteString(m.Within.String())
		b.WriteByte('*')
	}
	b.WriteByte('/')
	if _, some := m.Selector.Requirements(); !some {
		b.WriteByte('!') // it matches nothing, and prints like one that matches all
	}
	b.WriteString(m.Selector.String())
	m.Key = b.String()
}

// Terms reads the terms of a pod's affinity or anti-affinity.
func Terms(pod *corev1.Pod, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) (must, prefer []*Term) {
	for i := range required {
		must = append(must, newTerm(pod, &required[i], 0))
	}
	for i := range preferred {
		prefer = append(prefer, newTerm(pod, &preferred[i].PodAffinityTerm, int64(preferred[i].Weight)))
	}
	return must, prefer
}

func newTerm(pod *corev1.Pod, from *corev1.PodAffinityTerm, weight int64) *Term {
	t := &Term{Topology: from.TopologyKey, Weight: weight}
	t.Selector = selectorOf(from.LabelSelector)
	if from.LabelSelector != nil {
		t.Selector = withKeys(t.Selector, from.MatchLabelKeys, selection.In, pod.Labels)
		t.Selector = withKeys(t.Selector, from.MismatchLabelKeys, selection.NotIn, pod.Labels)
	}
	t.Namespaces = slices.Sorted(slices.Values(from.Namespaces))
	if from.NamespaceSelector != nil {
		t.Within = selectorOf(from.NamespaceSelector)
	} else if len(t.Namespaces) == 0 {
		t.Namespaces = []string{pod.Namespace}
	}
	t.seal()
	return t
}

// selectorOf reads a selector; one that cannot be read selects nothing.
func selectorOf(from *metav1.LabelSelector) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(from)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// withKeys adds the pod's own values of some labels to a selector, unless it has had
// them since the pod was created: its labels may be others now.
func withKeys(selector labels.Selector, keys []string, op selection.Operator, of map[string]string) labels.Selector {
	has, _ := selector.Requirements()
	for _, key := range keys {
		value, ok := of[key]
		if !ok || slices.ContainsFunc(has, func(r labels.Requirement) bool { return r.Key() == key && r.Operator() == op && r.Values().Len() == 1 }) {
			continue
		}
		if r, err := labels.NewRequirement(key, op, []string{value}); err == nil {
			selector = selector.Add(*r)
		}
	}
	return selector
}
