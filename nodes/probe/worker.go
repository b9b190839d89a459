package probe

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pod"
)

// quickStart is the first pause between the attempts that come in addition to
// the periodic ones.
const quickStart = 50 * time.Millisecond

// worker is one probe of one container.
type worker struct {
	manager *Manager
	pod     *corev1.Pod
	podIP   string
	target  Target
	state   *container
	kind    string // Startup, Readiness or Liveness
	spec    *corev1.Probe

	// run is the number of equal outcomes in a row, ok what they are.
	count int32
	ok    bool
	// passed is set with the first success that reached its threshold.
	passed bool
}

// run probes until ctx ends. Liveness and readiness wait for the container to
// have started; a startup probe ends with its first success.
func (w *worker) run(ctx context.Context) {
	if w.kind != "Startup" {
		select {
		case <-w.state.started:
		case <-ctx.Done():
			return
		}
	}
	delay := time.Until(w.target.StartedAt.Add(time.Duration(w.spec.InitialDelaySeconds) * time.Second))
	period := time.Duration(w.spec.PeriodSeconds) * time.Second
	if !sleep(ctx, delay) {
		return
	}
	for {
		if done := w.attempt(ctx, true); done {
			return
		}
		if done := w.rest(ctx, period); done {
			return
		}
	}
}

// rest waits a period, with quick attempts in between as long as the container
// has never passed.
func (w *worker) rest(ctx context.Context, period time.Duration) (done bool) {
	end := time.Now().Add(period)
	for pause := quickStart; w.quick() && pause < time.Until(end); pause *= 2 {
		if !sleep(ctx, pause) {
			return true
		}
		if done := w.attempt(ctx, false); done {
			return true
		}
	}
	return !sleep(ctx, time.Until(end))
}

// quick reports whether attempts between the periods make sense: never for
// liveness, nor for commands, which cost too much, nor where successes are
// counted.
func (w *worker) quick() bool {
	return w.kind != "Liveness" && !w.passed && w.spec.Exec == nil && w.spec.SuccessThreshold == 1
}

// attempt probes once. Outcomes of attempts that are not counted matter only if
// they are good.
func (w *worker) attempt(ctx context.Context, counted bool) (done bool) {
	ok, message := Check(ctx, w.manager.runner, w.spec, w.pod, w.podIP, w.target)
	if ctx.Err() != nil {
		return true
	}
	if !ok && !counted {
		return false
	}
	if !ok {
		w.manager.events.Unhealthy(w.pod, w.target.Spec.Name, fmt.Sprintf("%s probe failed: %s", w.kind, message))
	}
	if w.count > 0 && w.ok == ok {
		w.count++
	} else {
		w.ok, w.count = ok, 1
	}
	if (ok && w.count < w.spec.SuccessThreshold) || (!ok && w.count < w.spec.FailureThreshold) {
		return false
	}
	w.passed = w.passed || ok
	w.manager.set(w.pod.UID, w.state, func(r *pod.ProbeResult) {
		switch {
		case w.kind == "Readiness":
			r.Ready = ok
		case w.kind == "Startup" && ok:
			r.Started = true
		case w.kind == "Startup":
			r.Failed = "startup"
		case !ok:
			r.Failed = "liveness"
		}
	})
	// A condemned container is stopped by its worker; a started one needs no
	// startup probe any more.
	return w.kind == "Startup" || (w.kind == "Liveness" && !ok)
}

// sleep waits for d and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
