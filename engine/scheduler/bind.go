package scheduler

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

var errPanic = errors.New("panic; the log of Headway tells more")

// batch is what is written together.
type batch struct {
	bindings  []binding
	refusals  []change.Change
	evictions []eviction
	// preparations come before a binding.
	preparations []preparation
}

func (b *batch) len() int {
	return len(b.bindings) + len(b.refusals) + len(b.evictions) + len(b.preparations)
}

// outcome is what became of a binding or an eviction.
type outcome struct {
	item *item
	node string
	// bound is the pod if it was bound.
	bound *corev1.Pod
	err   error // why it is to be tried again
	// prepared is the preparation that failed.
	prepared *preparation
}

// writer writes batches one after the other, while the scheduler picks more. It
// does not touch what belongs to the scheduler's goroutine.
type writer struct {
	batches  chan batch
	done     chan struct{}
	outcomes []outcome
}

// hand gives the writer a batch; it is started with the first.
func (s *Scheduler) hand(ctx context.Context, w *writer, b batch) {
	if w.batches == nil {
		w.batches, w.done = make(chan batch, 4), make(chan struct{})
		go guard.Do(ctx, "write what was scheduled", func() {
			defer close(w.done)
			for b := range w.batches {
				var came []outcome
				if !guard.Do(ctx, "write a batch", func() { came = s.write(ctx, b) }) {
					came = nil
					for _, one := range b.bindings {
						came = append(came, outcome{item: one.item, node: one.node, err: errPanic})
					}
					for _, e := range b.evictions {
						came = append(came, outcome{item: e.item, err: errPanic})
					}
					for i := range b.preparations {
						came = append(came, outcome{item: b.preparations[i].item, err: errPanic, prepared: &b.preparations[i]})
					}
				}
				w.outcomes = append(w.outcomes, came...)
			}
		})
	}
	w.batches <- b
}

// wait returns what became of all batches.
func (w *writer) wait() []outcome {
	if w.batches == nil {
		return nil
	}
	close(w.batches)
	<-w.done
	return w.outcomes
}

func (s *Scheduler) write(ctx context.Context, b batch) []outcome {
	var came []outcome
	if len(b.bindings) > 0 {
		came = s.bind(ctx, b.bindings)
	}
	if len(b.refusals) > 0 {
		if _, err := s.Store.Commit(ctx, change.Tx{Changes: b.refusals}); err != nil && ctx.Err() == nil {
			s.Log.Warn("could not write why pods are pending", "pods", len(b.refusals), "error", err)
		}
	}
	for i := range b.preparations {
		p := &b.preparations[i]
		if _, err := s.Store.Commit(ctx, change.Tx{Changes: p.changes}); err != nil {
			came = append(came, outcome{item: p.item, err: err, prepared: p})
		}
	}
	for _, e := range b.evictions {
		if err := s.evict(ctx, e); err != nil {
			came = append(came, outcome{item: e.item, err: err})
		}
	}
	return came
}

// bind writes a batch of bindings; if it is refused as a whole, each by
// itself, so that one pod does not hold up the others.
func (s *Scheduler) bind(ctx context.Context, batch []binding) []outcome {
	now := s.Now()
	changes := make([]change.Change, len(batch))
	for i, b := range batch {
		changes[i] = bindChange(b.item.key, b.pod, b.node, now)
	}
	came := make([]outcome, 0, len(batch))
	objs, err := s.Store.Commit(ctx, change.Tx{Changes: changes})
	switch {
	case err != nil && len(batch) > 1 && ctx.Err() == nil:
		for _, b := range batch {
			came = append(came, s.bind(ctx, []binding{b})...)
		}
	case err != nil:
		for _, b := range batch {
			came = append(came, outcome{item: b.item, node: b.node, err: err})
		}
	default:
		for i, b := range batch {
			bound, _ := objs[i].(*corev1.Pod)
			if bound != nil && (bound.UID != b.pod.UID || bound.Spec.NodeName != b.node) {
				bound = nil
			}
			came = append(came, outcome{item: b.item, node: b.node, bound: bound})
		}
	}
	return came
}

// settle brings queue and snapshot in line with what came of what was written.
func (s *Scheduler) settle(ctx context.Context, outcomes []outcome) {
	for _, o := range outcomes {
		switch pod := o.item.pod; {
		case o.prepared != nil:
			s.unprepared(ctx, o.prepared, o.err)
		case o.err != nil && o.node == "":
			s.Log.Warn("could not have pods leave for another, trying again", "pod", o.item.key, "error", o.err)
			s.snapshot.Nominate(pod, "")
			s.queue.failed(o.item, s.Now())
		case o.err != nil:
			s.Log.Warn("could not bind pod, trying again", "pod", o.item.key, "node", o.node, "error", o.err)
			if ctx.Err() == nil {
				s.Events.Warning(by(pod), pod, "FailedScheduling", "binding rejected: %v", o.err)
			}
			s.gone(pod)
			s.queue.failed(o.item, s.Now())
		case o.bound == nil:
			// It was deleted, or somebody else bound it: its event will say so.
			s.queue.remove(o.item.key)
			s.gone(pod)
		default:
			s.queue.remove(o.item.key)
			s.Events.Normal(by(o.bound), o.bound, "Scheduled", "Successfully assigned %s/%s to %s", o.bound.Namespace, o.bound.Name, o.node)
		}
	}
}

// bindChange sets the node as the pod's binding does: without a new
// generation, and only if the pod still wants one.
func bindChange(key object.Key, of *corev1.Pod, node string, now time.Time) change.Change {
	uid := of.UID
	return change.Change{Key: key, Subresource: "binding", Mutate: func(current object.Object) (object.Object, error) {
		pod, ok := current.(*corev1.Pod)
		if !ok || pod.UID != uid || pod.DeletionTimestamp != nil || pod.Spec.NodeName != "" || len(pod.Spec.SchedulingGates) > 0 {
			return current, nil
		}
		next := *pod
		next.Spec.NodeName = node
		next.Status.NominatedNodeName = ""
		next.Status.Conditions = withCondition(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation,
		}, now)
		return &next, nil
	}}
}

// refusal writes why a pod is pending, and which node is kept for it; nil for no
// change of that.
func (s *Scheduler) refusal(it *item, reason, message string, kept *string) change.Change {
	uid, now := it.pod.UID, s.Now()
	return change.Change{Key: it.key, Subresource: "status", Mutate: func(current object.Object) (object.Object, error) {
		pod, ok := current.(*corev1.Pod)
		if !ok || pod.UID != uid || pod.Spec.NodeName != "" {
			return current, nil
		}
		same := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == reason && c.Message == message
		})
		if same && (kept == nil || *kept == pod.Status.NominatedNodeName) {
			return current, nil
		}
		next := *pod
		if kept != nil {
			next.Status.NominatedNodeName = *kept
		}
		next.Status.Conditions = withCondition(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: pod.Generation,
		}, now)
		return &next, nil
	}}
}

// withCondition returns a copy of the conditions with c in it; the time of
// transition stays if the status does.
func withCondition(conditions []corev1.PodCondition, c corev1.PodCondition, now time.Time) []corev1.PodCondition {
	c.LastTransitionTime = metav1.NewTime(now)
	next := slices.Clone(conditions)
	for i := range next {
		if next[i].Type == c.Type {
			if next[i].Status == c.Status {
				c.LastTransitionTime = next[i].LastTransitionTime
			}
			next[i] = c
			return next
		}
	}
	return append(next, c)
}
