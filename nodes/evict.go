package nodes

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/nodes/eviction"
	"headway.dev/nodes/pod"
)

// evictable are the pods of this node.
func (a *Agent) evictable() []eviction.Pod {
	workers := a.allWorkers()
	out := make([]eviction.Pod, len(workers))
	for i, w := range workers {
		out[i] = w
	}
	return out
}

func (a *Agent) findEvictable(uid types.UID) (eviction.Pod, bool) {
	w := a.worker(uid)
	return w, w != nil
}

// storageUsage is what a pod takes of the disk.
func (a *Agent) storageUsage(ctx context.Context, p *corev1.Pod) (pod.Storage, error) {
	containers, layers, err := a.cfg.Runtime.StorageUsage(ctx, string(p.UID))
	if err != nil {
		return pod.Storage{}, err
	}
	volumes, other, files, err := a.volumes.Usage(p)
	return pod.Storage{EmptyDirs: volumes, Containers: containers, Other: other, Inodes: layers + files}, err
}

// Storage is the pod, if it may be evicted; going says that it ends anyway, and
// that what it takes will soon be free. A pod may take its time to end and fill
// the disk meanwhile, so that going lasts for one release.
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
	w.agent.events.Event(p, corev1.EventTypeWarning, pod.ReasonEvicted, why)
	w.agent.log.Warn("evicting a pod", "pod", pod.Describe(p), "reason", why)
	w.interrupt()
	w.wakeLocked()
}

// evictedFor says why the pod is evicted; empty if it is not.
func (w *worker) evictedFor() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.evicted
}
