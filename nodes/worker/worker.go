package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/probe"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/slot"
	"headway.dev/nodes/volume"
)

// worker does the work of one pod, one thing at a time. Its goroutine runs only
// while there is something to do.
type worker struct {
	set *Set
	env *Env
	uid types.UID
	dir podDir

	mu      sync.Mutex
	pod     *corev1.Pod
	removed bool // the API no longer has it
	dirty   bool // something may have changed since the last look
	refresh bool // volumes have to be compared with the API's objects
	images  bool // images have come in
	pulling bool // the step in progress waits for a registry
	running bool
	acting  bool // steps are in progress
	stopped bool
	evicted string             // why the pod has to go; empty if it has not
	ending  time.Time          // when the evictor saw first that the pod ends
	cancel  context.CancelFunc // ends the steps in progress
	timer   *time.Timer

	admitted atomic.Bool // the node runs the pod
	waits    atomic.Bool // for a resize

	learned
	seat

	// The rest belongs to the goroutine, with seat.
	stale     pod.Failure // why volumes are behind the API
	announced map[string]time.Time
	rejection *pod.Rejection
	finished  bool
}

func newWorker(set *Set, uid types.UID) *worker {
	return &worker{
		set: set, env: &set.env, uid: uid, dir: podDir(set.env.Volumes.PodDir(uid)), learned: newLearned(), announced: map[string]time.Time{},
	}
}

// update takes a newer version of the pod.
func (w *worker) update(p *corev1.Pod) {
	defer w.publish()
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.pod
	w.pod = p
	if old == nil {
		// An agent before this one may have mounted volumes; its tokens age, and
		// nobody follows the objects.
		w.refresh = true
	} else {
		w.refresh = w.refresh || !maps.Equal(old.Labels, p.Labels) || !maps.Equal(old.Annotations, p.Annotations)
		if endsSooner(old, p) {
			w.interrupt()
		}
	}
	w.wakeLocked()
}

// endsSooner reports whether the new version must not wait for what is done for
// the old one.
func endsSooner(old, p *corev1.Pod) bool {
	if p.DeletionTimestamp == nil {
		return false
	}
	if old.DeletionTimestamp == nil {
		return true
	}
	was, is := old.DeletionGracePeriodSeconds, p.DeletionGracePeriodSeconds
	return was != nil && is != nil && *is < *was
}

// remove says that the API no longer has the pod; p is its last version, if
// known.
func (w *worker) remove(p *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p != nil {
		w.pod = p
	}
	if !w.removed {
		w.removed = true
		w.interrupt()
	}
	w.wakeLocked()
}

// notify says that containers or their probes may have changed.
func (w *worker) notify() {
	defer w.publish()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeLocked()
}

func (w *worker) objectChanged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refresh = true
	w.wakeLocked()
}

func (w *worker) imagesChanged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.images = true
	if w.pulling {
		w.interrupt() // what the registry does not have may be here now
	}
	w.wakeLocked()
}

func (w *worker) setPulling(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pulling = on
}

func (w *worker) interrupt() {
	if w.cancel != nil {
		w.cancel()
	}
}

// wakeLocked starts the goroutine if it does not run.
func (w *worker) wakeLocked() {
	w.dirty = true
	if !w.running && !w.stopped && w.set.ctx.Err() == nil {
		w.running = true
		w.set.wg.Go(func() { guard.Do(w.set.ctx, "worker of a pod", w.run) })
	}
}

// stop keeps the worker from starting again.
func (w *worker) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// run looks at the pod as long as something changes.
func (w *worker) run() {
	for {
		w.mu.Lock()
		if !w.dirty || w.stopped || w.set.ctx.Err() != nil {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.dirty = false
		p, removed, refresh := w.pod, w.removed, w.refresh
		images := w.images
		w.refresh, w.images = false, false
		if w.timer != nil {
			w.timer.Stop()
		}
		ctx, cancel := context.WithCancel(w.set.ctx)
		w.cancel, w.acting = cancel, true
		w.mu.Unlock()

		again := afterPanic
		guard.Do(ctx, "work for pod "+pod.Describe(p), func() {
			if images {
				w.forgive(func(_ string, f pod.Failure) bool {
					return f.Reason == "ErrImagePull" || f.Reason == "ErrImageNeverPull"
				})
			}
			again = w.look(ctx, p, removed, refresh)
		})
		w.release()

		w.mu.Lock()
		w.cancel, w.acting = nil, false
		cancel()
		switch {
		case again < 0:
		case again == 0:
			w.dirty = true
		default:
			w.timer = time.AfterFunc(again, func() { guard.Do(w.set.ctx, "look at a pod again", w.notify) })
		}
		w.mu.Unlock()
	}
}

// afterPanic is when a pod is looked at again whose look panicked.
const afterPanic = 10 * time.Second

// never is the answer of look when only a change can make more to do.
const never = time.Duration(-1)

// look observes, decides and acts once. It returns when to look again: at once
// after steps were taken, later, or never.
func (w *worker) look(ctx context.Context, p *corev1.Pod, removed, refresh bool) time.Duration {
	a := w.env
	if removed && w.tornDown {
		if err := a.Runtime.RemoveLogs(pod.Ref(p)); err != nil {
			return w.trouble(ctx, p, "remove logs", err)
		}
		w.leave()
		return never
	}
	if refresh {
		// What was missing may be there now.
		w.forgive(func(name string, f pod.Failure) bool { return name == "" || f.Reason == "CreateContainerConfigError" })
	}
	if !removed {
		have, err := a.Runtime.Get(ctx, string(w.uid))
		if err != nil {
			return w.trouble(ctx, p, "look at the machine", err)
		}
		switch ok, err := w.admit(ctx, p, have); {
		case err != nil:
			return w.trouble(ctx, p, "admit it", err)
		case !ok:
			return never // it has failed
		}
	}
	if !removed {
		if err := w.resize(ctx, p); err != nil {
			return w.trouble(ctx, p, "resize it", err)
		}
		w.mu.Lock()
		refresh = refresh || w.refresh // it has been resized
		w.refresh = false
		w.mu.Unlock()
	}
	p = w.allocated(p)
	plan, observed, err := w.decide(ctx, p, removed, false)
	if err != nil {
		return w.trouble(ctx, p, "look at the machine", err)
	}
	now := time.Now()
	w.backOffEvents(p, plan.BackOffs, now)
	if !plan.Stopping && refresh && observed.Sandbox != nil && volume.Refreshable(p) {
		w.refreshVolumes(ctx, p, observed)
		if at := w.stale.RetryAt; !at.IsZero() && (plan.Wake.IsZero() || at.Before(plan.Wake)) {
			plan.Wake = at
		}
	}
	for _, step := range plan.Steps {
		if err := w.do(ctx, p, step, plan.Status, &observed); err != nil {
			if ctx.Err() != nil {
				return 0 // interrupted by news, or the agent stops
			}
			var known *noted
			var over *roundOver
			switch {
			case errors.As(err, &over):
				return 0
			case errors.As(err, &known):
				continue
			}
			return w.trouble(ctx, p, fmt.Sprintf("%T", step), err)
		}
	}
	switch {
	case w.finished && !removed:
		return never
	case len(plan.Steps) > 0:
		return 0
	case plan.Wake.IsZero():
		return never
	default:
		return max(time.Until(plan.Wake), time.Millisecond)
	}
}

// noted is an error that the worker's memory holds already: the next decision
// takes it into account.
type noted struct{ error }

// trouble logs an error that has no place in the pod's status, and says when to
// try again.
func (w *worker) trouble(ctx context.Context, p *corev1.Pod, step string, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	w.env.Log.Warn("pod work failed, trying again in 1s", "pod", pod.Describe(p), "step", step, "err", err)
	return time.Second
}

// leave forgets the pod.
func (w *worker) leave() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	a := w.env
	a.Statuses.Forget(w.uid)
	w.set.mu.Lock()
	defer w.set.mu.Unlock()
	if w.set.workers[w.uid] == w {
		delete(w.set.workers, w.uid)
	}
}

// do carries one step out. observed is kept up to date for the steps after it.
func (w *worker) do(ctx context.Context, p *corev1.Pod, step pod.Step, status corev1.PodStatus, observed *runtime.Pod) error {
	switch s := step.(type) {
	case pod.Prepare:
		return w.prepare(ctx, p, observed)
	case pod.Resize:
		return w.carryOut(ctx, w.env, p, s)
	case pod.Start:
		return w.start(ctx, p, s, *observed)
	case pod.Stop:
		return w.stopContainers(ctx, p, s, *observed)
	case pod.Remove:
		for _, c := range observed.Containers {
			if c.ID == s.ID {
				_ = os.Remove(w.dir.terminationFile(c.Name, c.Attempt)) // goes with the pod at the latest
			}
		}
		return w.env.Runtime.RemoveContainer(ctx, s.ID)
	case pod.Teardown:
		return w.teardown(ctx, p)
	case pod.Finish:
		if err := w.env.Runtime.RemoveLogs(pod.Ref(p)); err != nil {
			return fmt.Errorf("remove logs: %w", err)
		}
		w.finish(p, status)
		return nil
	}
	return fmt.Errorf("unknown step %T", step)
}

// targets are the running containers to probe.
func targets(p *corev1.Pod, observed runtime.Pod) []probe.Target {
	specs := map[string]corev1.Container{}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			specs[c.Name] = c
		}
	}
	for _, c := range p.Spec.Containers {
		specs[c.Name] = c
	}
	var out []probe.Target
	for _, c := range observed.Containers {
		if spec, ok := specs[c.Name]; ok && c.State == runtime.Running {
			out = append(out, probe.Target{ID: c.ID, Spec: spec, StartedAt: c.StartedAt, Reported: pod.Reported(p, c.ID)})
		}
	}
	return out
}

// seat is a place among the pods that are started side by side.
type seat struct {
	giveBack func() // of the seat it holds
}

// hold takes a seat, unless it has one.
func (s *seat) hold(ctx context.Context, slots *slot.Slots) error {
	if s.giveBack != nil {
		return nil
	}
	var err error
	s.giveBack, err = slots.Take(ctx)
	return err
}

// release gives the seat back.
func (s *seat) release() {
	if s.giveBack != nil {
		s.giveBack()
		s.giveBack = nil
	}
}
