package disruption

import (
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/kinds/policy"
)

const (
	// deletionTimeout is within which time of its eviction a pod has to be marked as
	// deleted. After that it is thought to stay.
	deletionTimeout = 2 * time.Minute
	// staleAfter is for how long a pod that is not deleted may say that it will be.
	staleAfter = 2 * time.Minute
)

// Scale is what keeps a number of pods, and the number.
type Scale struct {
	UID      types.UID
	Replicas int32
}

// Find returns the scale of what ref names; nil if that is gone.
type Find func(ref *metav1.OwnerReference) (*Scale, error)

// Outcome is what is found about a budget.
type Outcome struct {
	Status policyv1.PodDisruptionBudgetStatus
	// Unmanaged are pods without a controller, where the number of pods that there
	// should be is asked from controllers.
	Unmanaged []string
	// Overdue are pods that were evicted and were not deleted.
	Overdue []*corev1.Pod
	// After is when the next of the evicted pods is overdue (0: never).
	After time.Duration
	// Err is why the number of pods could not be told. Nothing is allowed then.
	Err error
}

// Decide calculates the status of a budget from the pods that it selects.
func Decide(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, find Find, now time.Time) Outcome {
	var o Outcome
	var expected, desired int32
	if expected, desired, o.Unmanaged, o.Err = expect(&b.Spec, pods, find); o.Err != nil {
		o.Status = failed(&b.Status, o.Err, now)
		return o
	}
	evicted := o.evicted(b.Status.DisruptedPods, pods, now)
	healthy := healthy(pods, evicted, now)
	allowed := healthy - desired
	// A budget without pods allows nothing, so that it is safe when the first come.
	if expected <= 0 || allowed < 0 {
		allowed = 0
	}
	o.Status = policyv1.PodDisruptionBudgetStatus{
		ObservedGeneration: b.Generation, DisruptedPods: evicted, Conditions: b.Status.Conditions,
		CurrentHealthy: healthy, DesiredHealthy: desired, ExpectedPods: expected, DisruptionsAllowed: allowed,
	}
	policy.SetAllowed(&o.Status, now)
	return o
}

// failed is the status of a budget that cannot be calculated: what was known stays,
// and nothing is allowed.
func failed(was *policyv1.PodDisruptionBudgetStatus, cause error, now time.Time) policyv1.PodDisruptionBudgetStatus {
	s := *was.DeepCopy()
	s.DisruptionsAllowed = 0
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason, Message: cause.Error(),
		ObservedGeneration: s.ObservedGeneration, LastTransitionTime: metav1.NewTime(now),
	})
	return s
}

// expect returns how many pods there should be, and how many of them have to be
// healthy.
func expect(s *policyv1.PodDisruptionBudgetSpec, pods []*corev1.Pod, find Find) (expected, desired int32, unmanaged []string, err error) {
	switch {
	case s.MaxUnavailable != nil:
		if expected, unmanaged, err = scale(pods, find); err != nil {
			return 0, 0, nil, err
		}
		most, err := intstr.GetScaledValueFromIntOrPercent(s.MaxUnavailable, int(expected), true)
		if err != nil {
			return 0, 0, nil, err
		}
		return expected, max(0, expected-int32(most)), unmanaged, nil
	case s.MinAvailable == nil:
		return 0, 0, nil, nil
	case s.MinAvailable.Type == intstr.Int:
		return int32(len(pods)), s.MinAvailable.IntVal, nil, nil
	}
	if expected, unmanaged, err = scale(pods, find); err != nil {
		return 0, 0, nil, err
	}
	least, err := intstr.GetScaledValueFromIntOrPercent(s.MinAvailable, int(expected), true)
	if err != nil {
		return 0, 0, nil, err
	}
	return expected, int32(least), unmanaged, nil
}

// scale adds up what the controllers of the pods are to keep, each once.
func scale(pods []*corev1.Pod, find Find) (sum int32, unmanaged []string, err error) {
	// By what pods refer to, and by what was found: replica sets of one Deployment
	// are one.
	known, counted := map[types.UID]bool{}, map[types.UID]bool{}
	for _, pod := range pods {
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref == nil {
			unmanaged = append(unmanaged, pod.Name)
			continue
		}
		if known[ref.UID] {
			continue
		}
		known[ref.UID] = true
		found, err := find(ref)
		if err != nil {
			return 0, nil, err
		}
		if found == nil {
			return 0, nil, fmt.Errorf("found no controllers for pod %q", pod.Name)
		}
		if !counted[found.UID] {
			counted[found.UID] = true
			sum = int32(min(int64(sum)+int64(found.Replicas), math.MaxInt32))
		}
	}
	return sum, unmanaged, nil
}

// evicted are those of the pods that were evicted and are not deleted yet.
func (o *Outcome) evicted(was map[string]metav1.Time, pods []*corev1.Pod, now time.Time) map[string]metav1.Time {
	var still map[string]metav1.Time
	for _, pod := range pods {
		at, found := was[pod.Name]
		if !found || pod.DeletionTimestamp != nil {
			continue
		}
		end := at.Add(deletionTimeout)
		if end.Before(now) {
			o.Overdue = append(o.Overdue, pod)
			continue
		}
		if still == nil {
			still = map[string]metav1.Time{}
		}
		still[pod.Name] = at
		if left := end.Sub(now) + time.Millisecond; o.After == 0 || left < o.After {
			o.After = left
		}
	}
	return still
}

func healthy(pods []*corev1.Pod, evicted map[string]metav1.Time, now time.Time) int32 {
	var n int32
	for _, pod := range pods {
		at, leaving := evicted[pod.Name]
		leaving = leaving && at.Add(deletionTimeout).After(now)
		if pod.DeletionTimestamp == nil && !leaving && control.Ready(pod) {
			n++
		}
	}
	return n
}

// Stale reports whether a pod says that it will be disrupted, although nobody has
// deleted it, and after which time that is no longer believed.
func Stale(pod *corev1.Pod, now time.Time) (after time.Duration, says bool) {
	c := control.PodCondition(pod, corev1.DisruptionTarget)
	// A node may take as long as it needs until it deletes the pod.
	if c == nil || c.Status != corev1.ConditionTrue || c.Reason == corev1.PodReasonTerminationByKubelet ||
		pod.DeletionTimestamp != nil || control.Terminal(pod) {
		return 0, false
	}
	return max(0, c.LastTransitionTime.Add(staleAfter).Sub(now)), true
}

// calm is the conditions of a pod that is not disrupted after all.
func calm(pod *corev1.Pod, now time.Time) []corev1.PodCondition {
	conditions := slices.Clone(pod.Status.Conditions)
	for i, c := range conditions {
		if c.Type != corev1.DisruptionTarget {
			continue
		}
		conditions[i] = corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(now)}
		if c.ObservedGeneration != 0 {
			conditions[i].ObservedGeneration = pod.Generation
		}
	}
	return conditions
}
