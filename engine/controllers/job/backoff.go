package job

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/loop"
)

// The time that a job waits after a failure doubles from the first to the last.
const (
	firstWait = 10 * time.Second
	lastWait  = 10 * time.Minute
)

// Backoff is how often a job's pods have failed since one succeeded, and when last.
// It is not stored: after a restart of the server a job may try once more at once.
type Backoff struct {
	Failures int
	Last     time.Time
}

// after is the back-off with pods that have ended since.
func (b Backoff) after(succeeded, failed []*corev1.Pod) Backoff {
	var success time.Time
	for _, pod := range succeeded {
		success = latest(success, endOf(pod))
	}
	if len(succeeded) > 0 {
		b = Backoff{}
	}
	for _, pod := range failed {
		if end := endOf(pod); len(succeeded) == 0 || end.After(success) {
			b.Failures++
			b.Last = latest(b.Last, end)
		}
	}
	return b
}

// left is how long to wait until pods may be made.
func (b Backoff) left(now time.Time) time.Duration {
	if b.Failures == 0 {
		return 0
	}
	wait := lastWait
	if doubled := b.Failures - 1; doubled < 6 {
		wait = min(wait, firstWait<<doubled)
	}
	return max(0, b.Last.Add(wait).Sub(now))
}

// endOf is when a pod ended, as well as it is known.
func endOf(pod *corev1.Pod) time.Time {
	var end time.Time
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.State.Terminated != nil {
			end = latest(end, s.State.Terminated.FinishedAt.Time)
		}
	}
	if !end.IsZero() {
		return end
	}
	if c := control.PodCondition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Time
	}
	if pod.DeletionTimestamp != nil {
		if grace := pod.DeletionGracePeriodSeconds; grace != nil {
			return pod.DeletionTimestamp.Add(-loop.Seconds(*grace))
		}
		return pod.DeletionTimestamp.Time
	}
	return pod.CreationTimestamp.Time
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
