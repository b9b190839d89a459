package match

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/selection"
)

// place is where an index has what a matcher is for.
type place struct{ namespace, key, value string }

// Index finds what has a matcher that may match a pod, without asking all.
type Index[T any] map[place]map[string]T

// places of a matcher: one for each namespace, of any if it selects by labels,
// with one of the labels that it asks for.
func (m *Matcher) places() []place {
	var at place
	requirements, _ := m.Selector.Requirements()
	for _, r := range requirements {
		if values := r.ValuesUnsorted(); len(values) == 1 && (r.Operator() == selection.In || r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals) {
			at.key, at.value = r.Key(), values[0]
			break
		}
	}
	if m.Within != nil {
		return []place{at}
	}
	list := make([]place, len(m.Namespaces))
	for i, ns := range m.Namespaces {
		at.namespace = ns
		list[i] = at
	}
	return list
}

// Add has what found where the matcher may match.
func (x Index[T]) Add(m *Matcher, id string, what T) {
	for _, at := range m.places() {
		if x[at] == nil {
			x[at] = map[string]T{}
		}
		x[at][id] = what
	}
}

// Remove forgets what was added.
func (x Index[T]) Remove(m *Matcher, id string) {
	for _, at := range m.places() {
		if delete(x[at], id); len(x[at]) == 0 {
			delete(x, at)
		}
	}
}

// Each calls f with what may match the pod, once each.
func (x Index[T]) Each(pod *corev1.Pod, f func(T)) {
	if len(x) == 0 {
		return
	}
	look := func(at place) {
		for _, what := range x[at] {
			f(what)
		}
	}
	in := func(ns string) {
		look(place{namespace: ns})
		for key, value := range pod.Labels {
			look(place{ns, key, value})
		}
	}
	in("")
	if pod.Namespace != "" {
		in(pod.Namespace)
	}
}
