package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/nodes/eviction"
	"headway.dev/nodes/pod"
)

// Set contains the workers of the node's pods.
type Set struct {
	env Env
	// admission makes pods be admitted and resized one after the other.
	admission sync.Mutex
	// listed reports that the pods of the node are known, deferred that a resize has
	// been put off since.
	listed, deferred atomic.Bool

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // workers start on demand
	workers map[types.UID]*worker
	wg      sync.WaitGroup // the workers' goroutines
}

// NewSet returns a set without workers.
func NewSet() *Set { return &Set{workers: map[types.UID]*worker{}} }

// Start sets what the workers work with, and how long. No pod may be passed to
// the set before.
func (s *Set) Start(ctx context.Context, env Env) { s.ctx, s.env = ctx, env }

// Changed receives a newer version of a pod.
func (s *Set) Changed(p *corev1.Pod) {
	s.mu.Lock()
	if s.workers == nil {
		s.mu.Unlock()
		return
	}
	w := s.workers[p.UID]
	if w == nil {
		w = newWorker(s, p.UID)
		s.workers[p.UID] = w
	}
	s.mu.Unlock()
	w.update(p)
	s.tryDeferred(p.UID)
}

// Removed reports that a pod is gone from the API; p is its last version.
func (s *Set) Removed(p *corev1.Pod) {
	if w := s.worker(p.UID); w != nil {
		w.remove(p)
	}
	s.tryDeferred(p.UID)
}

// Retain removes all pods that are not among these, the only ones in the API.
func (s *Set) Retain(have map[types.UID]bool) {
	s.mu.Lock()
	var gone []*worker
	for uid, w := range s.workers {
		if !have[uid] {
			gone = append(gone, w)
		}
	}
	s.mu.Unlock()
	for _, w := range gone {
		w.remove(nil)
	}
	if !s.listed.Swap(true) {
		s.tryDeferred("")
	}
}

// NotifyAll makes all workers look at their pods again.
func (s *Set) NotifyAll() {
	for _, w := range s.all() {
		w.notify()
	}
}

// Notify makes a pod's worker look at it again.
func (s *Set) Notify(uid types.UID) {
	if w := s.worker(uid); w != nil {
		w.notify()
	}
}

// ObjectChanged also makes it compare its volumes with the API.
func (s *Set) ObjectChanged(uid types.UID) {
	if w := s.worker(uid); w != nil {
		w.objectChanged()
	}
}

// ImagesChanged makes the pods that wait for an image look for it again.
func (s *Set) ImagesChanged() {
	for _, w := range s.all() {
		w.imagesChanged()
	}
}

func (s *Set) all() []*worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.workers))
}

func (s *Set) worker(uid types.UID) *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers[uid]
}

// Stop waits for the workers' goroutines; the context of Start has ended.
func (s *Set) Stop() {
	s.mu.Lock()
	workers := s.workers
	s.workers = nil
	s.mu.Unlock()
	for _, w := range workers {
		w.stop()
	}
	s.wg.Wait()
}

// Pod finds a pod of this node by name. Where another has taken the place of one whose
// containers still end, it is the one that the API has, and that is not being deleted.
func (s *Set) Pod(namespace, name string) (*corev1.Pod, bool) {
	var found *corev1.Pod
	best := 0
	for _, w := range s.all() {
		w.mu.Lock()
		p, removed := w.pod, w.removed
		w.mu.Unlock()
		if p == nil || p.Namespace != namespace || p.Name != name {
			continue
		}
		rank := 3
		switch {
		case removed:
			rank = 1
		case p.DeletionTimestamp != nil:
			rank = 2
		}
		if rank > best {
			found, best = p, rank
		}
	}
	return found, found != nil
}

// List returns the pods of this node.
func (s *Set) List() []corev1.Pod {
	pods := s.pods()
	out := make([]corev1.Pod, 0, len(pods))
	for _, p := range pods {
		out = append(out, *p)
	}
	return out
}

func (s *Set) pods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, w := range s.all() {
		w.mu.Lock()
		if w.pod != nil {
			out = append(out, w.pod)
		}
		w.mu.Unlock()
	}
	return out
}

// holding are the pods besides w's that were admitted and hold resources still.
func (s *Set) holding(w *worker) []*corev1.Pod {
	var out []*corev1.Pod
	for _, o := range s.all() {
		if o == w {
			continue
		}
		o.memory.Lock()
		over, given := o.tornDown, o.given
		o.memory.Unlock()
		o.mu.Lock()
		p, removed := o.pod, o.removed
		o.mu.Unlock()
		if p == nil || !o.admitted.Load() && p.Status.StartTime == nil {
			continue // an agent before this one has admitted those that it started
		}
		if !over && !removed && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded {
			out = append(out, pod.Allocated(p, given))
		}
	}
	return out
}

// Unhealthy records a failed probe, unless the pod is being stopped anyway.
func (s *Set) Unhealthy(p *corev1.Pod, container, message string) {
	w := s.worker(p.UID)
	if w == nil {
		return
	}
	w.mu.Lock()
	stopping := w.removed || w.pod.DeletionTimestamp != nil
	w.mu.Unlock()
	if !stopping {
		s.env.Events.Event(containerRef(p, container), corev1.EventTypeWarning, "Unhealthy", message)
	}
}

// Evictable are the pods of this node.
func (s *Set) Evictable() []eviction.Pod {
	workers := s.all()
	out := make([]eviction.Pod, len(workers))
	for i, w := range workers {
		out[i] = w
	}
	return out
}

// FindEvictable looks for one of them.
func (s *Set) FindEvictable(uid types.UID) (eviction.Pod, bool) {
	w := s.worker(uid)
	return w, w != nil
}
