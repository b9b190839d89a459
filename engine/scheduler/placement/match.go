package placement

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// matcher selects pods by their namespaces and labels.
type matcher struct {
	// key is equal for equal matchers.
	key        string
	selector   labels.Selector
	namespaces []string
	// within selects namespaces by their labels besides; nil for none.
	within labels.Selector
}

// term is one of affinity between pods.
type term struct {
	matcher
	topology string
	weight   int64
}

// constraint is one of a topology spread.
type constraint struct {
	matcher
	topology            string
	maxSkew, minDomains int64
	affinity, taints    bool // whether nodes that those exclude do not count
	self                int64
	owners              bool // a default one, which counts the pods of the controller
}

func (m *matcher) matches(pod *corev1.Pod, s *Snapshot) bool {
	if !slices.Contains(m.namespaces, pod.Namespace) && (m.within == nil || !m.within.Matches(s.namespaces[pod.Namespace])) {
		return false
	}
	return m.selector.Matches(labels.Set(pod.Labels))
}

func matchAll(matchers []*matcher, pod *corev1.Pod, s *Snapshot) bool {
	for _, m := range matchers {
		if !m.matches(pod, s) {
			return false
		}
	}
	return len(matchers) > 0
}

func (m *matcher) seal() {
	var b strings.Builder
	for _, ns := range m.namespaces {
		b.WriteString(ns)
		b.WriteByte(',')
	}
	b.WriteByte('/')
	if m.within != nil {
		b.WriteString(m.within.String())
		b.WriteByte('*')
	}
	b.WriteByte('/')
	if _, some := m.selector.Requirements(); !some {
		b.WriteByte('!') // it matches nothing, and prints like one that matches all
	}
	b.WriteString(m.selector.String())
	m.key = b.String()
}

// terms reads the terms of a pod's affinity or anti-affinity.
func terms(pod *corev1.Pod, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) (must, prefer []*term) {
	for i := range required {
		must = append(must, newTerm(pod, &required[i], 0))
	}
	for i := range preferred {
		prefer = append(prefer, newTerm(pod, &preferred[i].PodAffinityTerm, int64(preferred[i].Weight)))
	}
	return must, prefer
}

func newTerm(pod *corev1.Pod, from *corev1.PodAffinityTerm, weight int64) *term {
	t := &term{topology: from.TopologyKey, weight: weight}
	t.selector = selectorOf(from.LabelSelector)
	if from.LabelSelector != nil {
		t.selector = withKeys(t.selector, from.MatchLabelKeys, selection.In, pod.Labels)
		t.selector = withKeys(t.selector, from.MismatchLabelKeys, selection.NotIn, pod.Labels)
	}
	t.namespaces = slices.Sorted(slices.Values(from.Namespaces))
	if from.NamespaceSelector != nil {
		t.within = selectorOf(from.NamespaceSelector)
	} else if len(t.namespaces) == 0 {
		t.namespaces = []string{pod.Namespace}
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

// constraintsOf reads the pod's constraints for one way to act. A pod without
// any spreads over hosts and zones as far as it can.
func constraintsOf(pod *corev1.Pod, act corev1.UnsatisfiableConstraintAction) []*constraint {
	if len(pod.Spec.TopologySpreadConstraints) == 0 {
		if act == corev1.ScheduleAnyway && metav1.GetControllerOfNoCopy(pod) != nil {
			return defaultSpread
		}
		return nil
	}
	var list []*constraint
	for i := range pod.Spec.TopologySpreadConstraints {
		from := &pod.Spec.TopologySpreadConstraints[i]
		if from.WhenUnsatisfiable != act {
			continue
		}
		c := &constraint{topology: from.TopologyKey, maxSkew: int64(from.MaxSkew), minDomains: 1, affinity: true}
		c.selector, c.namespaces = selectorOf(from.LabelSelector), []string{pod.Namespace}
		if from.LabelSelector != nil {
			c.selector = withKeys(c.selector, from.MatchLabelKeys, selection.In, pod.Labels)
		}
		if from.MinDomains != nil {
			c.minDomains = int64(*from.MinDomains)
		}
		if from.NodeAffinityPolicy != nil {
			c.affinity = *from.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor
		}
		if from.NodeTaintsPolicy != nil {
			c.taints = *from.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
		}
		if c.selector.Matches(labels.Set(pod.Labels)) {
			c.self = 1
		}
		if c.selector.Empty() {
			c.selector = labels.Nothing() // as in Kubernetes, which counts none then
		}
		c.seal()
		list = append(list, c)
	}
	return list
}

// defaultSpread is that of pods that have a controller and say nothing.
var defaultSpread = []*constraint{
	{topology: corev1.LabelHostname, maxSkew: 3, minDomains: 1, affinity: true, owners: true},
	{topology: corev1.LabelTopologyZone, maxSkew: 5, minDomains: 1, affinity: true, owners: true},
}

// place is where an index has what a matcher is for.
type place struct{ namespace, key, value string }

// index finds what has a matcher that may match a pod, without asking all.
type index[T any] map[place]map[string]T

// places of a matcher: one for each namespace, of any if it selects by labels,
// with one of the labels that it asks for.
func (m *matcher) places() []place {
	var at place
	requirements, _ := m.selector.Requirements()
	for _, r := range requirements {
		if values := r.ValuesUnsorted(); len(values) == 1 && (r.Operator() == selection.In || r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals) {
			at.key, at.value = r.Key(), values[0]
			break
		}
	}
	if m.within != nil {
		return []place{at}
	}
	list := make([]place, len(m.namespaces))
	for i, ns := range m.namespaces {
		at.namespace = ns
		list[i] = at
	}
	return list
}

func (x index[T]) add(m *matcher, id string, what T) {
	for _, at := range m.places() {
		if x[at] == nil {
			x[at] = map[string]T{}
		}
		x[at][id] = what
	}
}

func (x index[T]) remove(m *matcher, id string) {
	for _, at := range m.places() {
		if delete(x[at], id); len(x[at]) == 0 {
			delete(x, at)
		}
	}
}

// each calls f with what may match the pod, once each.
func (x index[T]) each(pod *corev1.Pod, f func(T)) {
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
