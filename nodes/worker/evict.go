package worker

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pod"
)

// Storage returns the pod, if it may be evicted; going reports that it ends
// anyway, and that the space it takes will soon be free. A pod may take its
// time to end and fill the disk meanwhile, so going only lasts for one release.
func (w *worker) Storage(now time.Time, release time.Duration) (p *corev1.Pod, going bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pod == nil || w.stopped {
		return nil, false
	}
	if !w.removed && w.pod.DeletionTimestamp == nil && w.evicted == "" {
		if w.pod.Status.Phase == corev1.PodSucceeded || w.pod.Status.Phase == corev1.PodFailed {
			return nil, false
		}
		return w.pod, false
	}
	if w.ending.IsZero() {
		w.ending = now
	}
	going = now.Sub(w.ending) < release
	if w.evicted != "" {
		return nil, going
	}
	return w.pod, going
}

// Evict makes the pod end.
func (w *worker) Evict(p *corev1.Pod, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.evicted != "" {
		return
	}
	w.evicted, w.ending = why, time.Now()
	w.env.Events.Event(p, corev1.EventTypeWarning, pod.ReasonEvicted, why)
	w.env.Log.Warn("evicting a pod", "pod", pod.Describe(p), "reason", why)
	w.interrupt()
	w.wakeLocked()
}

// evictedFor says why the pod is evicted; empty if it is not.
func (w *worker) evictedFor() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.evicted
}
