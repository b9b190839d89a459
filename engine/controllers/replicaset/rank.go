package replicaset

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/controllers/control"
)

// rank orders pods by how little is lost with them, first to go first:
//
//  1. not assigned to a node
//  2. pending before unknown before running
//  3. not ready, then ready but not yet available, so that a rollout which
//     counts on the available ones does not lose them
//  4. lower controller.kubernetes.io/pod-deletion-cost
//  5. more neighbours on its node
//  6. ready for a shorter time, in powers of two, so that chance spreads the
//     loss among pods of about the same age
//  7. more restarts
//  8. created later, in powers of two
//  9. UID
func rank(pods []*corev1.Pod, minReadySeconds int32, neighbours map[string]int, now time.Time) []*corev1.Pod {
	phase := map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}
	sorted := slices.Clone(pods)
	slices.SortStableFunc(sorted, func(a, b *corev1.Pod) int {
		order := cmp.Or(
			control.TrueFirst(a.Spec.NodeName == "", b.Spec.NodeName == ""),
			cmp.Compare(phase[a.Status.Phase], phase[b.Status.Phase]),
			control.TrueFirst(!control.Ready(a), !control.Ready(b)),
			control.TrueFirst(control.AvailableIn(a, minReadySeconds, now) > 0, control.AvailableIn(b, minReadySeconds, now) > 0),
			cmp.Compare(cost(a), cost(b)),
			cmp.Compare(neighbours[b.Spec.NodeName], neighbours[a.Spec.NodeName]),
		)
		if order == 0 && control.Ready(a) {
			order = cmp.Compare(age(readySince(a), now), age(readySince(b), now))
		}
		return cmp.Or(order,
			cmp.Compare(restarts(b), restarts(a)),
			cmp.Compare(age(a.CreationTimestamp.Time, now), age(b.CreationTimestamp.Time, now)),
			cmp.Compare(a.UID, b.UID),
		)
	})
	return sorted
}

// age is the time since t in powers of two; a time that is not known is the
// youngest of all.
func age(t, now time.Time) int {
	if t.IsZero() {
		return -1
	}
	d := now.Sub(t)
	if d <= 0 {
		return 0
	}
	return int(math.Log2(float64(d.Nanoseconds()))) + 1
}

func readySince(pod *corev1.Pod) time.Time {
	if c := control.PodCondition(pod, corev1.PodReady); c != nil {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

func restarts(pod *corev1.Pod) int32 {
	var n int32
	for _, s := range pod.Status.ContainerStatuses {
		n = max(n, s.RestartCount)
	}
	return n
}

// cost is what the pod's annotation says, 0 if it is not a 32-bit number.
func cost(pod *corev1.Pod) int64 {
	n, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return n
}
