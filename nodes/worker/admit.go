package worker

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// admit reports whether the node runs the pod. It is asked when the pod is new
// here: a binding may have been made by somebody who looked at nothing. One that
// is rejected fails for good, as with the kubelet.
func (w *worker) admit(ctx context.Context, p *corev1.Pod, observed runtime.Pod) (bool, error) {
	a := w.env
	if w.admitted.Load() {
		return true, nil
	}
	known := p.Status.StartTime != nil || p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	if known || observed.Sandbox != nil || len(observed.Containers) > 0 {
		w.take(pod.Recall(p, observed), pod.Recalled(p))
		w.admitted.Store(true)
		return true, nil
	}
	if w.rejection != nil {
		a.Statuses.Set(p, w.rejection.Status(p), false)
		return false, nil
	}
	// One after the other: what is free is counted with those admitted before.
	w.set.admission.Lock()
	defer w.set.admission.Unlock()
	// What was seen of the node may be older than the binding, and a rejection is
	// for good: it takes the node as it is now.
	var rejection *pod.Rejection
	for _, now := range []bool{false, true} {
		node, err := a.Node.Self(ctx, now)
		if err != nil {
			return false, err
		}
		rejection = pod.Admit(p, node, w.set.holding(w))
		if rejection == nil {
			w.take(pod.Allocate(p), pod.Resizing{})
			w.admitted.Store(true)
			return true, nil
		}
	}
	w.rejection = rejection
	a.Events.Event(p, corev1.EventTypeWarning, w.rejection.Reason, w.rejection.Message)
	a.Statuses.Set(p, w.rejection.Status(p), false)
	return false, nil
}

// take notes what the node gives to the pod.
func (l *learned) take(given pod.Allocation, resizing pod.Resizing) {
	l.memory.Lock()
	defer l.memory.Unlock()
	l.given, l.resizing = given, resizing
}

// allocated is the pod with what the node gives to its containers.
func (l *learned) allocated(p *corev1.Pod) *corev1.Pod {
	l.memory.Lock()
	defer l.memory.Unlock()
	return pod.Allocated(p, l.given)
}

// resize gives the pod what it wants now, if the node has that.
func (w *worker) resize(ctx context.Context, p *corev1.Pod) error {
	w.memory.Lock()
	wants := wantsResize(p, w.given)
	if !wants {
		w.resizing.Pending = nil
	}
	w.memory.Unlock()
	w.waits.Store(wants)
	if !wants {
		return nil
	}
	w.set.deferred.Store(true)
	if !w.set.listed.Load() {
		return nil // it is not known yet what the others have
	}
	return w.set.resize(ctx)
}

func wantsResize(p *corev1.Pod, given pod.Allocation) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded && pod.Wants(p, given)
}

// tryDeferred makes those that wait for a resize try again; something has changed for
// another pod.
func (s *Set) tryDeferred(other types.UID) {
	if !s.deferred.Load() {
		return
	}
	for _, w := range s.all() {
		if w.waits.Load() && w.uid != other {
			w.notify()
		}
	}
}

// resize decides about all resizes that are asked for, in their order.
func (s *Set) resize(ctx context.Context) error {
	s.admission.Lock()
	defer s.admission.Unlock()
	node, err := s.env.Node.Self(ctx, false)
	if err != nil {
		return err
	}
	type wish struct {
		w     *worker
		p     *corev1.Pod
		given pod.Allocation
	}
	var wishes []wish
	for _, w := range s.all() {
		if !w.admitted.Load() || !w.waits.Load() {
			continue
		}
		w.memory.Lock()
		given := w.given
		w.memory.Unlock()
		w.mu.Lock()
		p, removed := w.pod, w.removed
		w.mu.Unlock()
		if !removed && wantsResize(p, given) {
			wishes = append(wishes, wish{w, p, given})
		}
	}
	slices.SortFunc(wishes, func(a, b wish) int { return pod.Before(a.p, b.p, a.given, b.given) })
	for _, wish := range wishes {
		s.answer(wish.w, wish.p, pod.Fits(wish.p, node, s.holding(wish.w)))
	}
	return nil
}

// answer gives the pod what it wants, or notes why it does not get it.
func (s *Set) answer(w *worker, p *corev1.Pod, pending *pod.Pending) {
	w.memory.Lock()
	was := w.resizing.Pending
	w.resizing.Pending = pending
	news := pending == nil || was == nil || *was != *pending
	if pending == nil {
		w.given = pod.Allocate(p)
		w.resizing = pod.Resizing{Generation: p.Generation}
		w.waits.Store(false)
	}
	w.memory.Unlock()
	switch {
	case !news:
		return
	case pending == nil:
		s.env.Events.Event(p, corev1.EventTypeNormal, "ResizeStarted", pod.ResizeMessage("Pod resize started", p, p.Generation, ""))
	default:
		s.env.Events.Event(p, corev1.EventTypeWarning, "Resize"+pending.Reason, pod.ResizeMessage("Pod resize "+pending.Reason, p, pending.Generation, pending.Message))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refresh = w.refresh || pending == nil // files may say what containers have
	w.wakeLocked()
}

// carryOut gives containers that run what the node gives to them.
func (l *learned) carryOut(ctx context.Context, env *Env, p *corev1.Pod, s pod.Resize) error {
	err := env.Runtime.Resize(ctx, string(p.UID), s.Pod, s.Containers)
	if ctx.Err() != nil {
		return err
	}
	l.memory.Lock()
	defer l.memory.Unlock()
	if err == nil {
		l.resizing.Failure = pod.Failure{}
		return nil
	}
	if err.Error() != l.resizing.Failure.Message {
		env.Events.Event(p, corev1.EventTypeWarning, "ResizeError", pod.ResizeMessage("Pod resize error", p, l.resizing.Generation, err.Error()))
	}
	l.resizing.Failure = l.resizing.Failure.Again(corev1.PodReasonError, err.Error(), time.Now(), resizeRetry, resizeRetryMax)
	return &noted{err}
}

// resized tells that a resize is done. The caller holds memory.
func (l *learned) resized(env *Env, p *corev1.Pod, plan pod.Plan) {
	if l.resizing.Generation == 0 || plan.Resizing || plan.Stopping {
		return
	}
	env.Events.Event(p, corev1.EventTypeNormal, "ResizeCompleted", pod.ResizeMessage("Pod resize completed", p, l.resizing.Generation, ""))
	l.resizing.Generation, l.resizing.Failure = 0, pod.Failure{}
}
