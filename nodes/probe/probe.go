// Package probe runs the startup, readiness and liveness probes of running
// containers and keeps their verdicts.
//
// [Manager.Sync] is told which containers of a pod run and starts or ends the
// probes' goroutines (one for each probe); [Manager.Results] is what they say.
// A verdict that changes is announced through the notify function given to
// [New]: the pod's worker then decides again. [Check] is one attempt of a probe.
//
//	Sync ─▶ worker goroutine: delay ▶ Check ▶ threshold ▶ verdict ─▶ notify(pod)
//
// The schedule is the kubelet's: first attempt after initialDelaySeconds, then
// one each periodSeconds; liveness and readiness rest until the container has
// started. One thing is quicker: between the periods a container that was never
// ready is asked again after 50 ms, 100 ms, 200 ms and so on. Only success
// counts there; a failure between the periods is neither counted nor reported,
// so thresholds and events stay as Kubernetes has them.
//
// Stop ends all goroutines and waits for them.
package probe

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/pod"
)

// Runner runs a command in a container and returns its output and exit code.
type Runner interface {
	ExecProbe(ctx context.Context, containerID string, command []string, timeout time.Duration) (output string, exitCode int, err error)
}

// Recorder receives the Unhealthy events.
type Recorder interface {
	Unhealthy(p *corev1.Pod, container, message string)
}

// Target is one running container of a pod.
type Target struct {
	ID        string
	Spec      corev1.Container
	StartedAt time.Time
	// Reported is the verdict of a previous run of the agent, which stands
	// until a probe changes it.
	Reported pod.ProbeResult
}

// Manager runs probes. Its methods may be called from many goroutines.
type Manager struct {
	runner Runner
	events Recorder
	notify func(types.UID)
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // the life of all workers, ended by Stop
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	pods map[types.UID]map[string]*container // by container ID
}

// container is the state of one container's probes.
type container struct {
	cancel context.CancelFunc
	// cancelLife ends the probes that could end the container.
	cancelLife context.CancelFunc

	result pod.ProbeResult
	// started is closed when the startup probe has succeeded.
	started chan struct{}
}

// New returns a manager without probes. notify is called, from the workers'
// goroutines, with the UID of a pod whose results changed.
func New(runner Runner, events Recorder, notify func(types.UID), log *slog.Logger) *Manager {
	ctx, cancel := context.WithCancel(context.Background())
	return &Manager{runner: runner, events: events, notify: notify, log: log, ctx: ctx, cancel: cancel, pods: map[types.UID]map[string]*container{}}
}

// Stop ends all probes and waits for their goroutines.
func (m *Manager) Stop() {
	m.cancel()
	m.wg.Wait()
}

// Sync makes the probes of p agree with its running containers. podIP is where
// network probes go. For a pod that is stopping only readiness matters: until
// its containers have ended it determines where requests may go.
func (m *Manager) Sync(p *corev1.Pod, podIP string, targets []Target, stopping bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have := m.pods[p.UID]
	want := map[string]bool{}
	for _, t := range targets {
		if t.Spec.StartupProbe == nil && t.Spec.LivenessProbe == nil && t.Spec.ReadinessProbe == nil {
			continue
		}
		want[t.ID] = true
		if have[t.ID] != nil || m.ctx.Err() != nil {
			if have[t.ID] != nil && stopping {
				have[t.ID].cancelLife()
			}
			continue
		}
		if have == nil {
			have = map[string]*container{}
			m.pods[p.UID] = have
		}
		have[t.ID] = m.begin(p, podIP, t, stopping)
	}
	for id, c := range have {
		if !want[id] {
			c.cancel()
			delete(have, id)
		}
	}
	if len(have) == 0 {
		delete(m.pods, p.UID)
	}
}

// begin starts a container's workers.
func (m *Manager) begin(p *corev1.Pod, podIP string, t Target, stopping bool) *container {
	ctx, cancel := context.WithCancel(m.ctx)
	life, cancelLife := context.WithCancel(ctx)
	c := &container{cancel: cancel, cancelLife: cancelLife, started: make(chan struct{})}
	if stopping {
		cancelLife()
	}
	start := func(ctx context.Context, kind string, spec *corev1.Probe) {
		if spec == nil {
			return
		}
		w := &worker{manager: m, pod: p, podIP: podIP, target: t, state: c, kind: kind, spec: withDefaults(spec)}
		m.wg.Go(func() {
			_ = guard.Loop(ctx, kind+" probe of "+pod.Describe(p), func(ctx context.Context) error { w.run(ctx); return nil }) // run has no error
		})
	}
	c.result = pod.ProbeResult{Started: t.Reported.Started || t.Spec.StartupProbe == nil, Ready: t.Reported.Ready}
	if c.result.Started {
		close(c.started)
	} else {
		start(life, "Startup", t.Spec.StartupProbe)
	}
	start(ctx, "Readiness", t.Spec.ReadinessProbe)
	start(life, "Liveness", t.Spec.LivenessProbe)
	return c
}

// withDefaults fills the fields the API would have defaulted.
func withDefaults(p *corev1.Probe) *corev1.Probe {
	p = p.DeepCopy()
	for field, def := range map[*int32]int32{&p.TimeoutSeconds: 1, &p.PeriodSeconds: 10, &p.SuccessThreshold: 1, &p.FailureThreshold: 3} {
		if *field <= 0 {
			*field = def
		}
	}
	return p
}

// Results returns the verdicts of a pod's containers, by container ID.
func (m *Manager) Results(uid types.UID) map[string]pod.ProbeResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]pod.ProbeResult, len(m.pods[uid]))
	for id, c := range m.pods[uid] {
		out[id] = c.result
	}
	return out
}

// set changes a container's verdict and announces a change.
func (m *Manager) set(uid types.UID, c *container, change func(*pod.ProbeResult)) {
	m.mu.Lock()
	before := c.result
	change(&c.result)
	if c.result.Started && !before.Started {
		close(c.started)
	}
	changed := c.result != before
	m.mu.Unlock()
	if changed {
		m.notify(uid)
	}
}
