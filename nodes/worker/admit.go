package worker

import (
	"context"

	corev1 "k8s.io/api/core/v1"

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
			w.admitted.Store(true)
			return true, nil
		}
	}
	w.rejection = rejection
	a.Events.Event(p, corev1.EventTypeWarning, w.rejection.Reason, w.rejection.Message)
	a.Statuses.Set(p, w.rejection.Status(p), false)
	return false, nil
}
