package worker

import (
	"context"
	"maps"
	"sync"
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
	a := w.env
	w.memory.Lock()
	defer w.memory.Unlock()
	if meanwhile && (w.closing || !w.admitted.Load()) {
		return pod.Plan{}, runtime.Pod{}, nil
	}
	observed, err := a.Runtime.Get(ctx, string(w.uid))
	if err != nil {
		return pod.Plan{}, observed, err
	}
	for i := range observed.Containers {
		// It is not called running before its postStart hook is through.
		if c := &observed.Containers[i]; c.ID == w.hooked && c.State == runtime.Running {
			c.State = runtime.Created
		}
	}
	w.readMessages(p, observed, w.dir, func(c runtime.Container) string { return a.Runtime.LogPath(c.Pod, c.Name, c.Attempt) })
	now := time.Now()
	p = pod.Allocated(p, w.given)
	plan := pod.Decide(pod.Input{
		Pod: p, Resize: w.resizing, Removed: removed, Observed: observed, HostIPs: a.hostIPs(),
		Probes: a.Probes.Results(w.uid), Failures: w.failures, Messages: w.messages,
		StoppingSince: w.stoppingSince, Evicted: w.evictedFor(), TornDown: w.tornDown, Now: now,
	})
	if plan.Stopping && w.stoppingSince.IsZero() {
		w.stoppingSince = now
	}
	w.resized(a, p, plan)
	if !removed && !w.finished {
		a.Statuses.Set(p, plan.Status, false)
	}
	if !w.closing {
		a.Probes.Sync(p, plan.Status.PodIP, targets(p, observed), plan.Stopping)
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
	if !busy || w.set.ctx.Err() != nil {
		return
	}
	err := guard.Call(w.set.ctx, "status of pod "+pod.Describe(p), func() error {
		_, _, err := w.decide(w.set.ctx, p, false, true)
		return err
	})
	if err != nil && w.set.ctx.Err() == nil {
		w.env.Log.Warn("pod status not brought up to date", "pod", pod.Describe(p), "err", err)
	}
}

// finish hands over the last status: after it the pod leaves the API.
func (w *worker) finish(p *corev1.Pod, status corev1.PodStatus) {
	w.memory.Lock()
	defer w.memory.Unlock()
	w.env.Statuses.Set(p, status, true)
	w.finished = true
}

// learned is what steps learn. It goes into the status, also while others are in
// progress. Only the worker's goroutine changes it, except for messages and hooks.
type learned struct {
	memory        sync.Mutex
	failures      map[string]pod.Failure
	messages      map[string]string // by container ID
	hooks         map[string]bool   // container IDs whose preStop hook ran
	hooked        string            // container ID whose postStart hook runs
	stoppingSince time.Time
	tornDown      bool
	closing       bool // what the status is made from is being removed

	// What the node gives to the containers, and how far it is with giving them
	// something else; the worker of another pod may change it, too.
	given    pod.Allocation
	resizing pod.Resizing
}

func newLearned() learned {
	return learned{failures: map[string]pod.Failure{}, messages: map[string]string{}, hooks: map[string]bool{}}
}

// remember keeps why something could not be done.
func (l *learned) remember(name string, f pod.Failure) {
	l.memory.Lock()
	defer l.memory.Unlock()
	l.failures[name] = f
}

// forgive forgets failures.
func (l *learned) forgive(which func(name string, f pod.Failure) bool) {
	l.memory.Lock()
	defer l.memory.Unlock()
	maps.DeleteFunc(l.failures, which)
}

// forget forgets the failure of a container, or of the pod.
func (l *learned) forget(name string) {
	l.memory.Lock()
	defer l.memory.Unlock()
	delete(l.failures, name)
}

// setHooked says which container's postStart hook runs; "" is none.
func (l *learned) setHooked(id string) {
	l.memory.Lock()
	defer l.memory.Unlock()
	l.hooked = id
}

// hookDue reports, once, whether the preStop hook of a container is to be run.
func (l *learned) hookDue(id string) bool {
	l.memory.Lock()
	defer l.memory.Unlock()
	due := !l.hooks[id]
	l.hooks[id] = true
	return due
}
