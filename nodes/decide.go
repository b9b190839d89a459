package nodes

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// decide observes and decides, hands the status to the writer, and brings the
// probes in line with what runs. Statuses reach the writer in the order of the
// decisions. meanwhile says that the goroutine is busy with steps: then nothing is
// done once the steps remove what the status is made from.
func (w *worker) decide(ctx context.Context, p *corev1.Pod, removed, meanwhile bool) (pod.Plan, runtime.Pod, error) {
	a := w.agent
	w.memory.Lock()
	defer w.memory.Unlock()
	if meanwhile && (w.closing || !w.admitted.Load()) {
		return pod.Plan{}, runtime.Pod{}, nil
	}
	observed, err := a.cfg.Runtime.Get(ctx, string(w.uid))
	if err != nil {
		return pod.Plan{}, observed, err
	}
	for i := range observed.Containers {
		// It is not called running before its postStart hook is through.
		if c := &observed.Containers[i]; c.ID == w.hooked && c.State == runtime.Running {
			c.State = runtime.Created
		}
	}
	w.readMessages(p, observed)
	now := time.Now()
	plan := pod.Decide(pod.Input{
		Pod: p, Removed: removed, Observed: observed, HostIPs: []string{a.cfg.NodeIP},
		Probes: a.probes.Results(w.uid), Failures: w.failures, Messages: w.messages,
		StoppingSince: w.stoppingSince, Evicted: w.evictedFor(), TornDown: w.tornDown, Now: now,
	})
	if plan.Stopping && w.stoppingSince.IsZero() {
		w.stoppingSince = now
	}
	if !removed && !w.finished {
		a.statuses.Set(p, plan.Status, false)
	}
	if !w.closing {
		a.probes.Sync(p, plan.Status.PodIP, targets(p, observed), plan.Stopping)
	}
	return plan, observed, nil
}

// publish brings the status up to date while a step keeps the goroutine busy: a
// pull or a container that stops must not hold back what the pod's other
// containers and their probes have to say.
func (w *worker) publish() {
	w.mu.Lock()
	p, busy := w.pod, w.acting && !w.removed && !w.stopped
	w.mu.Unlock()
	if !busy || w.agent.ctx.Err() != nil {
		return
	}
	err := guard.Call(w.agent.ctx, "status of pod "+pod.Describe(p), func() error {
		_, _, err := w.decide(w.agent.ctx, p, false, true)
		return err
	})
	if err != nil && w.agent.ctx.Err() == nil {
		w.agent.log.Warn("pod status not brought up to date", "pod", pod.Describe(p), "err", err)
	}
}

// finish hands over the last status: after it the pod leaves the API.
func (w *worker) finish(p *corev1.Pod, status corev1.PodStatus) {
	w.memory.Lock()
	defer w.memory.Unlock()
	w.agent.statuses.Set(p, status, true)
	w.finished = true
}

// remember keeps why something could not be done.
func (w *worker) remember(name string, f pod.Failure) {
	w.memory.Lock()
	defer w.memory.Unlock()
	w.failures[name] = f
}

// forgive forgets failures.
func (w *worker) forgive(which func(name string, f pod.Failure) bool) {
	w.memory.Lock()
	defer w.memory.Unlock()
	maps.DeleteFunc(w.failures, which)
}

// forget forgets the failure of a container, or of the pod.
func (w *worker) forget(name string) {
	w.memory.Lock()
	defer w.memory.Unlock()
	delete(w.failures, name)
}

// setHooked says which container's postStart hook runs; "" is none.
func (w *worker) setHooked(id string) {
	w.memory.Lock()
	defer w.memory.Unlock()
	w.hooked = id
}

// hookDue reports, once, whether the preStop hook of a container is to be run.
func (w *worker) hookDue(id string) bool {
	w.memory.Lock()
	defer w.memory.Unlock()
	due := !w.hooks[id]
	w.hooks[id] = true
	return due
}
