package scheduler

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/manifests/model/object"
)

// budgets are what preemption keeps to if it can.
type budgets struct {
	known map[object.Key]placement.Budget
	// list is of all of them, nil if it has to be made.
	list []placement.Budget
}

func newBudgets() *budgets { return &budgets{known: map[object.Key]placement.Budget{}} }

func (b *budgets) observe(ev object.Event, of *policyv1.PodDisruptionBudget) {
	b.list = nil
	if ev.Type == object.Deleted {
		delete(b.known, ev.Key)
		return
	}
	b.known[ev.Key] = Budget(of)
}

// all are the budgets as they are now. The caller must not keep the list.
func (b *budgets) all() []placement.Budget {
	if b.list == nil {
		for _, one := range b.known {
			b.list = append(b.list, one)
		}
	}
	return b.list
}

// spend takes those who have to leave from the budgets, as an eviction does, so that
// who is looked at next does not count on them. The budgets' events set that right.
func (b *budgets) spend(victims []*corev1.Pod) {
	for key, one := range b.known {
		for _, v := range victims {
			if !one.Guards(v) {
				continue
			}
			one.Allowed = max(0, one.Allowed-1)
			one.Disrupted = maps.Clone(one.Disrupted)
			if one.Disrupted == nil {
				one.Disrupted = map[string]metav1.Time{}
			}
			one.Disrupted[v.Name] = metav1.Time{}
			b.known[key], b.list = one, nil
		}
	}
}

// Budget is what a PodDisruptionBudget allows.
func Budget(of *policyv1.PodDisruptionBudget) placement.Budget {
	one := placement.Budget{Namespace: of.Namespace, Allowed: of.Status.DisruptionsAllowed, Disrupted: of.Status.DisruptedPods}
	if selector, err := metav1.LabelSelectorAsSelector(of.Spec.Selector); err == nil {
		one.Selector = selector // one that cannot be read guards nothing
	}
	return one
}
