package worker

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// How long failures to start wait for the next try.
const (
	mountRetry    = 500 * time.Millisecond
	sandboxRetry  = time.Second
	configRetry   = time.Second
	retryMax      = 10 * time.Second
	pullRetry     = 10 * time.Second
	pullRetryMax  = 5 * time.Minute
	hostsFileMode = 0o644

	resizeRetry    = time.Second
	resizeRetryMax = time.Minute
)

// fail remembers why a container could not be started.
func (w *worker) fail(name, reason, message string, first, limit time.Duration) error {
	w.remember(name, w.failures[name].Again(reason, message, time.Now(), first, limit))
	return &noted{errors.New(message)}
}

// prepare sets up volumes and sandbox.
func (w *worker) prepare(ctx context.Context, p *corev1.Pod, observed *runtime.Pod) error {
	a := w.env
	if err := w.hold(ctx, w.env.Slots); err != nil {
		return err
	}
	if err := a.Volumes.Setup(p, w.env.facts(ctx, p, *observed)); err != nil {
		if ctx.Err() != nil {
			return err
		}
		a.Events.Event(p, corev1.EventTypeWarning, "FailedMount", err.Error())
		return stopHere(w.fail("", "FailedMount", err.Error(), mountRetry, retryMax))
	}
	var sandbox runtime.Sandbox
	cfg, warnings, err := a.sandboxConfig(p)
	for _, w := range warnings {
		a.Events.Event(p, corev1.EventTypeWarning, "DNSConfigForming", w)
	}
	if err == nil {
		cfg.Handler, err = a.Objects.Handler(ctx, p.Spec.RuntimeClassName)
	}
	if err == nil {
		sandbox, err = a.Runtime.EnsureSandbox(ctx, cfg)
	}
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		a.Events.Eventf(p, corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
		return stopHere(w.fail("", "FailedCreatePodSandBox", err.Error(), sandboxRetry, retryMax))
	}
	observed.Sandbox = &sandbox
	w.forget("")
	return nil
}

// refreshVolumes brings the volumes of a pod with a sandbox up to date with the
// API. If that fails they stay as they are, and it is tried again: a token must
// not expire for one answer that did not come.
func (w *worker) refreshVolumes(ctx context.Context, p *corev1.Pod, observed runtime.Pod) {
	err := w.env.Volumes.Setup(p, w.env.facts(ctx, p, observed))
	if err == nil {
		w.stale = pod.Failure{}
		return
	}
	if ctx.Err() == nil {
		w.env.Events.Event(p, corev1.EventTypeWarning, "FailedMount", err.Error())
		w.stale = w.stale.Again("FailedMount", err.Error(), time.Now(), mountRetry, retryMax)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refresh = true
}

// stopHere turns a noted failure into one that also ends this round: without
// volumes and sandbox there is nothing to start.
func stopHere(err error) error { return &roundOver{err} }

// roundOver ends a round of steps whose failure is remembered.
type roundOver struct{ error }

// start creates and starts one container.
func (w *worker) start(ctx context.Context, p *corev1.Pod, s pod.Start, observed runtime.Pod) error {
	a, c := w.env, &s.Container
	ref := containerRef(p, c.Name)
	id := s.ID
	// Here, not with the sandbox, for the same reason as the file of hosts: see
	// containerConfig.
	if err := a.isolated(ctx, p, observed); err != nil {
		if ctx.Err() != nil {
			return err
		}
		a.Events.Eventf(ref, corev1.EventTypeWarning, "FailedNetworkPolicy", "Error: %v", err)
		return w.fail(c.Name, "CreateContainerError", err.Error(), configRetry, retryMax)
	}
	if id == "" {
		if err := w.image(ctx, p, c); err != nil {
			return err
		}
		if err := w.hold(ctx, w.env.Slots); err != nil {
			return err
		}
		cfg, err := a.containerConfig(ctx, p, s, observed, w.dir)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			a.Events.Eventf(ref, corev1.EventTypeWarning, "Failed", "Error: %v", err)
			return w.fail(c.Name, "CreateContainerConfigError", err.Error(), configRetry, retryMax)
		}
		sandbox, _, err := a.sandboxConfig(p)
		if err != nil {
			return w.fail(c.Name, "CreateContainerConfigError", err.Error(), configRetry, retryMax)
		}
		created, err := a.Runtime.CreateContainer(ctx, sandbox, cfg)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			reason := "CreateContainerError"
			if config := (*runtime.ConfigError)(nil); errors.As(err, &config) {
				reason, err = "CreateContainerConfigError", config
			}
			a.Events.Eventf(ref, corev1.EventTypeWarning, "Failed", "Error: %v", err)
			return w.fail(c.Name, reason, err.Error(), configRetry, retryMax)
		}
		id = created.ID
		a.Events.Event(ref, corev1.EventTypeNormal, "Created", "Container created")
	}
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		w.setHooked(id)
		defer w.setHooked("")
	}
	if err := a.Runtime.StartContainer(ctx, id); err != nil {
		if ctx.Err() != nil {
			return err
		}
		a.Events.Eventf(ref, corev1.EventTypeWarning, "Failed", "Error: %v", err)
		if cut := (*runtime.InterruptedError)(nil); errors.As(err, &cut) {
			return w.fail(c.Name, "RunContainerError", err.Error(), configRetry, retryMax)
		}
		w.forget(c.Name)
		return &noted{err}
	}
	w.forget(c.Name)
	a.Events.Event(ref, corev1.EventTypeNormal, "Started", "Container started")
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		w.release() // the hook may take long, and uses nothing the slots protect
		if err := a.hook(ctx, p, c, id, c.Lifecycle.PostStart, podIP(p, observed, a.NodeIP)); err != nil && ctx.Err() == nil {
			a.Events.Event(ref, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
			a.Log.Info("postStart hook failed, container is killed", "pod", pod.Describe(p), "container", c.Name, "err", err)
			return w.stopContainers(ctx, p, pod.Stop{Containers: []pod.StopContainer{{
				ID: id, Spec: *c, Grace: time.Duration(graceOf(p)) * time.Second, Message: "FailedPostStartHook",
			}}}, observed)
		}
	}
	return nil
}

func graceOf(p *corev1.Pod) int64 {
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		return max(*s, 1)
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}

func podIP(p *corev1.Pod, observed runtime.Pod, nodeIP string) string {
	if p.Spec.HostNetwork {
		return nodeIP
	}
	if observed.Sandbox != nil && len(observed.Sandbox.IPs) > 0 {
		return observed.Sandbox.IPs[0]
	}
	return ""
}
