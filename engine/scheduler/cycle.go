package scheduler

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/manifests/guard"
)

// together bounds how many decisions are written in one transaction, and early
// how many in the first of a cycle, so that it starts soon.
const (
	together = 500
	early    = 50
)

const (
	gatedMessage = "Scheduling is blocked due to non-empty scheduling gates"
	// panicMessage does not tell what was given to panic, which may be anything.
	panicMessage = "running the scheduler for this pod: panic; the log of Headway tells more"
)

// binding is a decision that is not written yet.
type binding struct {
	item *item
	pod  *corev1.Pod
	node string
}

// round is what one cycle has decided and not handed to its writer.
type round struct {
	batch

	// refused has, by class, why pods fit nowhere. It holds as long as nodes only
	// become fuller, which is so until the end of the cycle.
	refused map[string]*placement.Failure
}

// cycle places all pods that are ready, and writes what it decided while it goes
// on with the next.
func (s *Scheduler) cycle(ctx context.Context) {
	r, w, size := &round{refused: map[string]*placement.Failure{}}, &writer{}, early
	for it := s.queue.pop(s.Now()); it != nil; it = s.queue.pop(s.Now()) {
		if len(it.pod.Spec.SchedulingGates) > 0 {
			s.queue.gated(it)
			r.refusals = append(r.refusals, s.refusal(it, corev1.PodReasonSchedulingGated, gatedMessage, nil))
		} else if !guard.Do(ctx, "schedule "+it.key.String(), func() { s.place(r, it) }) {
			s.queue.failed(it, s.Now())
			r.refusals = append(r.refusals, s.refusal(it, corev1.PodReasonSchedulerError, panicMessage, nil))
			s.Events.Warning(by(it.pod), it.pod, "FailedScheduling", "%s", panicMessage)
		}
		if r.len() >= size {
			s.hand(ctx, w, r.batch)
			r.batch, size = batch{}, together
		}
	}
	if r.len() > 0 {
		s.hand(ctx, w, r.batch)
	}
	s.settle(ctx, w.wait())
}

// place decides about one pod.
func (s *Scheduler) place(r *round, it *item) {
	if len(r.refused) > 0 {
		if f := r.refused[placement.Class(it.pod, s.snapshot)]; f != nil {
			s.pending(r, it, f)
			return
		}
	}
	node, failure := s.pick(it.pod, s.snapshot, s.Seed)
	if failure == nil {
		if plan := placement.VolumesOn(it.pod, s.snapshot, node); !plan.Empty() {
			s.prepare(r, it, node, plan)
			return
		}
		s.snapshot.Assume(it.pod, node)
		r.bindings = append(r.bindings, binding{it, it.pod, node})
		s.met(it.pod)
		return
	}
	if found := placement.Preempt(it.pod, s.snapshot, failure, s.budgets.all(), s.Seed); found != nil {
		s.preempt(r, it, failure, found)
		return
	}
	if failure.Causes&placement.ByPods == 0 && !failure.Waits {
		r.refused[failure.Class] = failure
	}
	s.pending(r, it, failure)
}

// pending puts a pod aside that fits nowhere.
func (s *Scheduler) pending(r *round, it *item, f *placement.Failure) {
	message := f.Message()
	var kept *string
	if it.pod.Status.NominatedNodeName != "" && !f.Waits {
		kept = new(string)
		s.snapshot.Nominate(it.pod, "")
	}
	if f.Causes&placement.ByVolumes != 0 && kept == nil && !f.Waits {
		s.snapshot.Nominate(it.pod, it.pod.Status.NominatedNodeName) // the node that prepare kept
	}
	s.queue.fitsNowhere(it, f, s.Now())
	r.refusals = append(r.refusals, s.refusal(it, corev1.PodReasonUnschedulable, message, kept))
	s.Events.Warning(by(it.pod), it.pod, "FailedScheduling", "%s", message)
}

// met wakes the pods that may fit because another has a node or has none any more.
func (s *Scheduler) met(pod *corev1.Pod) {
	s.queue.wake(func(p *corev1.Pod, causes placement.Cause) bool {
		return causes&placement.ByPods != 0 && placement.Concerns(p, pod, s.snapshot)
	})
}
