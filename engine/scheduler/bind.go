package scheduler

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// together bounds how many pods are bound in one transaction.
const together = 500

const (
	gatedMessage = "Scheduling is blocked due to non-empty scheduling gates"
	// panicMessage does not tell what was given to panic, which may be anything.
	panicMessage = "running the scheduler for this pod: panic; the log of Headway tells more"
)

// binding is a decision that is not written yet.
type binding struct {
	item *item
	node string
}

// cycle places all pods that are ready.
func (s *Scheduler) cycle(ctx context.Context) {
	ready := s.queue.ready(s.Now())
	if len(ready) == 0 {
		return
	}
	var bindings []binding
	var refusals []change.Change
	for _, it := range ready {
		if len(it.pod.Spec.SchedulingGates) > 0 {
			s.queue.fitsNowhere(it, s.Now())
			refusals = s.refuse(refusals, it, corev1.PodReasonSchedulingGated, gatedMessage)
			continue
		}
		var node string
		var failure *placement.Failure
		if !guard.Do(ctx, "schedule "+it.key.String(), func() { node, failure = s.pick(it.pod, s.snapshot, s.Seed) }) {
			s.queue.failed(it, s.Now())
			refusals = s.refuse(refusals, it, corev1.PodReasonSchedulerError, panicMessage)
			s.Events.Warning(s.Name, it.pod, "FailedScheduling", "%s", panicMessage)
			continue
		}
		if failure != nil {
			message := failure.Message()
			s.queue.fitsNowhere(it, s.Now())
			refusals = s.refuse(refusals, it, corev1.PodReasonUnschedulable, message)
			s.Events.Warning(s.Name, it.pod, "FailedScheduling", "%s", message)
			continue
		}
		s.snapshot.Assume(it.pod, node)
		bindings = append(bindings, binding{it, node})
	}
	for batch := range slices.Chunk(bindings, together) {
		s.bind(ctx, batch)
	}
	for batch := range slices.Chunk(refusals, together) {
		if _, err := s.Store.Commit(ctx, change.Tx{Changes: batch}); err != nil && ctx.Err() == nil {
			s.Log.Warn("could not write why pods are pending", "pods", len(batch), "error", err)
		}
	}
}

// bind writes a batch of bindings; if it is refused as a whole, each by
// itself, so that one pod does not hold up the others.
func (s *Scheduler) bind(ctx context.Context, batch []binding) {
	now := s.Now()
	changes := make([]change.Change, len(batch))
	for i, b := range batch {
		changes[i] = bindChange(b.item, b.node, now)
	}
	objs, err := s.Store.Commit(ctx, change.Tx{Changes: changes})
	if err != nil {
		if len(batch) > 1 && ctx.Err() == nil {
			for _, b := range batch {
				s.bind(ctx, []binding{b})
			}
			return
		}
		it := batch[0].item
		s.Log.Warn("could not bind pod, trying again", "pod", it.key, "node", batch[0].node, "error", err)
		if ctx.Err() == nil {
			s.Events.Warning(s.Name, it.pod, "FailedScheduling", "binding rejected: %v", err)
		}
		for _, b := range batch {
			s.snapshot.RemovePod(b.item.pod.UID)
			s.queue.failed(b.item, now)
		}
		return
	}
	for i, b := range batch {
		bound, _ := objs[i].(*corev1.Pod)
		s.queue.remove(b.item.key)
		if bound == nil || bound.UID != b.item.pod.UID || bound.Spec.NodeName != b.node {
			// It was deleted, or somebody else bound it: its event will say so.
			s.snapshot.RemovePod(b.item.pod.UID)
			continue
		}
		s.Events.Normal(s.Name, bound, "Scheduled", "Successfully assigned %s/%s to %s", bound.Namespace, bound.Name, b.node)
	}
}

// bindChange sets the node as the pod's binding does: without a new
// generation, and only if the pod still wants one.
func bindChange(it *item, node string, now time.Time) change.Change {
	uid := it.pod.UID
	return change.Change{Key: it.key, Subresource: "binding", Mutate: func(current object.Object) (object.Object, error) {
		pod, ok := current.(*corev1.Pod)
		if !ok || pod.UID != uid || pod.DeletionTimestamp != nil || pod.Spec.NodeName != "" || len(pod.Spec.SchedulingGates) > 0 {
			return current, nil
		}
		next := *pod
		next.Spec.NodeName = node
		next.Status.Conditions = withCondition(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation,
		}, now)
		return &next, nil
	}}
}

// refuse adds the write of why a pod is pending.
func (s *Scheduler) refuse(changes []change.Change, it *item, reason, message string) []change.Change {
	uid, now := it.pod.UID, s.Now()
	return append(changes, change.Change{Key: it.key, Subresource: "status", Mutate: func(current object.Object) (object.Object, error) {
		pod, ok := current.(*corev1.Pod)
		if !ok || pod.UID != uid || pod.Spec.NodeName != "" {
			return current, nil
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == reason && c.Message == message {
				return current, nil
			}
		}
		next := *pod
		next.Status.Conditions = withCondition(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: pod.Generation,
		}, now)
		return &next, nil
	}})
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
