package scheduler

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// eviction is a decision to have pods leave for another.
type eviction struct {
	item *item
	// changes are of the statuses of all; victims are deleted after that.
	changes []change.Change
	victims []*corev1.Pod
	pod     *corev1.Pod
	node    string
}

// preempt keeps a node for a pod, and has those leave that are in its way.
func (s *Scheduler) preempt(r *round, it *item, f *placement.Failure, found *placement.Preemption) {
	message := f.Message()
	e := eviction{item: it, victims: found.Victims, pod: it.pod, node: found.Node}
	e.changes = append(e.changes, s.refusal(it, corev1.PodReasonUnschedulable, message, &found.Node))
	for _, other := range found.Nominated {
		// They are looked at again: elsewhere there may be room.
		s.snapshot.Nominate(other, "")
		e.changes = append(e.changes, forget(other))
		if waiting := s.queue.items[object.KeyOf(podKind, other)]; waiting != nil && waiting.class != "" {
			s.queue.activate(waiting)
		}
	}
	for _, v := range found.Victims {
		e.changes = append(e.changes, s.disrupt(v, by(it.pod)))
	}
	s.budgets.spend(found.Victims)
	s.snapshot.Nominate(it.pod, found.Node)
	s.queue.fitsNowhere(it, f, s.Now())
	s.Events.Warning(by(it.pod), it.pod, "FailedScheduling", "%s", message)
	r.evictions = append(r.evictions, e)
}

// evict has pods leave as the API's eviction does: with their grace period.
func (s *Scheduler) evict(ctx context.Context, e eviction) error {
	if _, err := s.Store.Commit(ctx, change.Tx{Changes: e.changes}); err != nil {
		return fmt.Errorf("say why pods have to leave: %w", err)
	}
	for _, v := range e.victims {
		opts := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &v.UID}}
		_, err := s.Store.Commit(ctx, change.Tx{Changes: []change.Change{change.Delete(object.KeyOf(podKind, v), opts, s.Now())}})
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // it has left
		case err != nil:
			return fmt.Errorf("have %s/%s leave: %w", v.Namespace, v.Name, err)
		default:
			s.Events.Normal(by(e.pod), v, "Preempted", "Preempted by pod %v on node %v", e.pod.UID, e.node)
		}
	}
	return nil
}

// disrupt says in a pod's status who has it leave, and why.
func (s *Scheduler) disrupt(victim *corev1.Pod, by string) change.Change {
	now := s.Now()
	return status(victim, func(pod *corev1.Pod) bool {
		if pod.DeletionTimestamp != nil {
			return false
		}
		pod.Status.Conditions = withCondition(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
			Message: by + ": preempting to accommodate a higher priority pod", ObservedGeneration: pod.Generation,
		}, now)
		return true
	})
}

// forget says in a pod's status that no node is kept for it.
func forget(of *corev1.Pod) change.Change {
	return status(of, func(pod *corev1.Pod) bool {
		if pod.Status.NominatedNodeName == "" {
			return false
		}
		pod.Status.NominatedNodeName = ""
		return true
	})
}

// status changes the status of a pod, if that is there still; edit gets a copy,
// whose lists it must replace.
func status(of *corev1.Pod, edit func(*corev1.Pod) bool) change.Change {
	uid := of.UID
	return change.Change{Key: object.KeyOf(podKind, of), Subresource: "status", Mutate: func(current object.Object) (object.Object, error) {
		pod, ok := current.(*corev1.Pod)
		if !ok || pod.UID != uid {
			return current, nil
		}
		next := *pod
		if !edit(&next) {
			return current, nil
		}
		return &next, nil
	}}
}
