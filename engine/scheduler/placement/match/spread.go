package match

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Constraint is one of a topology spread.
type Constraint struct {
	Matcher
	Topology            string
	MaxSkew, MinDomains int64
	Affinity, Taints    bool // whether nodes that those exclude do not count
	Self                int64
	// Owners: it is a default one, which counts the pods of the controller and selects none.
	Owners bool
	// System: it is the scheduler's own, and asks no node for labels.
	System bool
}

// Defaults are the constraints of pods that have none of their own.
type Defaults struct{ Hard, Soft []*Constraint }

// System are those of pods for which nobody says anything: they spread over hosts and
// zones as far as they can.
var System = Defaults{Soft: []*Constraint{
	{Topology: corev1.LabelHostname, MaxSkew: 3, MinDomains: 1, Affinity: true, Owners: true, System: true},
	{Topology: corev1.LabelTopologyZone, MaxSkew: 5, MinDomains: 1, Affinity: true, Owners: true, System: true},
}}

// DefaultsOf reads constraints that select no pods.
func DefaultsOf(list []corev1.TopologySpreadConstraint) (d Defaults) {
	for i := range list {
		c := newConstraint(&list[i])
		c.Owners, c.Self = true, 1
		if list[i].WhenUnsatisfiable == corev1.DoNotSchedule {
			d.Hard = append(d.Hard, c)
		} else {
			d.Soft = append(d.Soft, c)
		}
	}
	return d
}

// Spread reads the pod's constraints, those that must be met and those that should.
// A pod without any that has a controller has the default ones.
func Spread(pod *corev1.Pod, owned bool, defaults Defaults) (hard, soft []*Constraint) {
	if len(pod.Spec.TopologySpreadConstraints) == 0 {
		if owned {
			return defaults.Hard, defaults.Soft
		}
		return nil, nil
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		from := &pod.Spec.TopologySpreadConstraints[i]
		c := newConstraint(from)
		c.Selector, c.Namespaces = selectorOf(from.LabelSelector), []string{pod.Namespace}
		if from.LabelSelector != nil {
			c.Selector = withKeys(c.Selector, from.MatchLabelKeys, selection.In, pod.Labels)
		}
		if c.Selector.Matches(labels.Set(pod.Labels)) {
			c.Self = 1
		}
		if c.Selector.Empty() {
			c.Selector = labels.Nothing() // as in Kubernetes, which counts none then
		}
		c.seal()
		switch from.WhenUnsatisfiable {
		case corev1.DoNotSchedule:
			hard = append(hard, c)
		case corev1.ScheduleAnyway:
			soft = append(soft, c)
		}
	}
	return hard, soft
}

func newConstraint(from *corev1.TopologySpreadConstraint) *Constraint {
	c := &Constraint{Topology: from.TopologyKey, MaxSkew: int64(from.MaxSkew), MinDomains: 1, Affinity: true}
	if from.MinDomains != nil {
		c.MinDomains = int64(*from.MinDomains)
	}
	if from.NodeAffinityPolicy != nil {
		c.Affinity = *from.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor
	}
	if from.NodeTaintsPolicy != nil {
		c.Taints = *from.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
	}
	return c
}
