package nodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/machine"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/volume"
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
)

// fail remembers why a container could not be started.
func (w *worker) fail(name, reason, message string, first, limit time.Duration) error {
	w.remember(name, w.failures[name].Again(reason, message, time.Now(), first, limit))
	return &noted{errors.New(message)}
}

// prepare sets up volumes and sandbox.
func (w *worker) prepare(ctx context.Context, p *corev1.Pod, observed *runtime.Pod) error {
	a := w.agent
	if err := w.hold(ctx); err != nil {
		return err
	}
	if err := a.volumes.Setup(p, w.facts(ctx, p, *observed)); err != nil {
		if ctx.Err() != nil {
			return err
		}
		a.events.Event(p, corev1.EventTypeWarning, "FailedMount", err.Error())
		return stopHere(w.fail("", "FailedMount", err.Error(), mountRetry, retryMax))
	}
	sandbox, err := a.cfg.Runtime.EnsureSandbox(ctx, a.sandboxConfig(p))
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		a.events.Eventf(p, corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
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
	err := w.agent.volumes.Setup(p, w.facts(ctx, p, observed))
	if err == nil {
		w.stale = pod.Failure{}
		return
	}
	if ctx.Err() == nil {
		w.agent.events.Event(p, corev1.EventTypeWarning, "FailedMount", err.Error())
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

func (w *worker) hostsFile() string {
	return filepath.Join(w.agent.volumes.PodDir(w.uid), "etc-hosts")
}

// writeHosts writes in place: running containers have the file bound.
func writeHosts(name, content string) error {
	if machine.ReadSmall(name) == content {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make the pod's directory: %w", err)
	}
	if err := os.WriteFile(name, []byte(content), hostsFileMode); err != nil {
		return fmt.Errorf("write the pod's hosts file: %w", err)
	}
	return nil
}

// facts is what the pod's environment and files are made from right now.
func (w *worker) facts(ctx context.Context, p *corev1.Pod, observed runtime.Pod) pod.Facts {
	a := w.agent
	facts := pod.Facts{
		HostIPs: []string{a.cfg.NodeIP}, Allocatable: a.machine.Allocatable,
		ConfigMap: func(name string) (*corev1.ConfigMap, error) {
			return a.objects.ConfigMap(ctx, w.uid, p.Namespace, name)
		},
		Secret: func(name string) (*corev1.Secret, error) { return a.objects.Secret(ctx, w.uid, p.Namespace, name) },
		Token: func(audience string, seconds int64) (string, error) {
			return a.tokens.Get(ctx, p, audience, seconds)
		},
	}
	switch {
	case p.Spec.HostNetwork:
		facts.PodIPs = facts.HostIPs
	case observed.Sandbox != nil:
		facts.PodIPs = observed.Sandbox.IPs
	}
	return facts
}

// start creates and starts one container.
func (w *worker) start(ctx context.Context, p *corev1.Pod, s pod.Start, observed runtime.Pod) error {
	a, c := w.agent, &s.Container
	ref := containerRef(p, c.Name)
	id := s.ID
	if id == "" {
		if err := w.image(ctx, p, c); err != nil {
			return err
		}
		if err := w.hold(ctx); err != nil {
			return err
		}
		cfg, err := w.containerConfig(ctx, p, s, observed)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			a.events.Eventf(ref, corev1.EventTypeWarning, "Failed", "Error: %v", err)
			return w.fail(c.Name, "CreateContainerConfigError", err.Error(), configRetry, retryMax)
		}
		created, err := a.cfg.Runtime.CreateContainer(ctx, w.agent.sandboxConfig(p), cfg)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			reason := "CreateContainerError"
			if config := (*runtime.ConfigError)(nil); errors.As(err, &config) {
				reason, err = "CreateContainerConfigError", config
			}
			a.events.Eventf(ref, corev1.EventTypeWarning, "Failed", "Error: %v", err)
			return w.fail(c.Name, reason, err.Error(), configRetry, retryMax)
		}
		id = created.ID
		a.events.Eventf(ref, corev1.EventTypeNormal, "Created", "Created container: %s", c.Name)
	}
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		w.setHooked(id)
		defer w.setHooked("")
	}
	if err := a.cfg.Runtime.StartContainer(ctx, id); err != nil {
		if ctx.Err() != nil {
			return err
		}
		a.events.Eventf(ref, corev1.EventTypeWarning, "Failed", "Error: %v", err)
		if cut := (*runtime.InterruptedError)(nil); errors.As(err, &cut) {
			return w.fail(c.Name, "RunContainerError", err.Error(), configRetry, retryMax)
		}
		w.forget(c.Name)
		return &noted{err}
	}
	w.forget(c.Name)
	a.events.Eventf(ref, corev1.EventTypeNormal, "Started", "Started container %s", c.Name)
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		w.release() // the hook may take long, and uses nothing the slots protect
		if err := w.hook(ctx, p, c, id, c.Lifecycle.PostStart, podIP(p, observed, a.cfg.NodeIP)); err != nil && ctx.Err() == nil {
			a.events.Event(ref, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
			a.log.Info("postStart hook failed, container is killed", "pod", pod.Describe(p), "container", c.Name, "err", err)
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

// sandboxConfig is what the runtime is to make of a pod.
func (a *Agent) sandboxConfig(p *corev1.Pod) runtime.SandboxConfig {
	dns := pod.DNS{Servers: a.cfg.ClusterDNS, Domain: a.cfg.ClusterDomain, Node: machine.ReadSmall("/etc/resolv.conf")}
	cfg := pod.SandboxConfig(p, pod.ResolvConf(p, dns))
	cfg.Resources.PidsLimit = max(a.cfg.PodPidsLimit, 0)
	return cfg
}

// containerConfig puts together what a container needs: environment, mounts
// and its termination log.
func (w *worker) containerConfig(ctx context.Context, p *corev1.Pod, s pod.Start, observed runtime.Pod) (runtime.ContainerConfig, error) {
	a, c := w.agent, &s.Container
	var none runtime.ContainerConfig
	facts := w.facts(ctx, p, observed)
	var err error
	if facts.Services, err = a.services.List(ctx); err != nil {
		return none, err
	}
	env, err := pod.Environment(p, c, facts)
	if err != nil {
		return none, err
	}
	values := map[string]string{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	mounts, err := a.volumes.Mounts(p, c, func(s string) string {
		return pod.Expand(s, func(name string) (string, bool) { v, ok := values[name]; return v, ok })
	})
	if err != nil {
		return none, err
	}
	if !volume.MountsPath(c, "/etc/hosts") {
		// Here, not with the sandbox: an agent that is killed right after it made
		// the sandbox finds that done, and would start containers without the file.
		hosts := pod.Hosts(p, facts.PodIPs, a.cfg.ClusterDomain, machine.ReadSmall("/etc/hosts"))
		if err := writeHosts(w.hostsFile(), hosts); err != nil {
			return none, err
		}
		mounts = append(mounts, runtime.Mount{HostPath: w.hostsFile(), ContainerPath: "/etc/hosts"})
	}
	log, err := w.terminationLog(c.Name, s.Attempt)
	if err != nil {
		return none, err
	}
	mounts = append(mounts, runtime.Mount{HostPath: log, ContainerPath: terminationPath(c)})
	return pod.ContainerConfig(p, s, env, mounts, a.machine.Memory)
}

func terminationPath(c *corev1.Container) string {
	if c.TerminationMessagePath != "" {
		return c.TerminationMessagePath
	}
	return corev1.TerminationMessagePathDefault
}

func (w *worker) terminationFile(name string, attempt int) string {
	return filepath.Join(w.agent.volumes.PodDir(w.uid), "containers", name, strconv.Itoa(attempt))
}

// terminationLog makes the file a container may leave its last words in;
// whatever user it runs as must be able to write it.
func (w *worker) terminationLog(name string, attempt int) (string, error) {
	file := w.terminationFile(name, attempt)
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return "", fmt.Errorf("make the termination log: %w", err)
	}
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		return "", fmt.Errorf("make the termination log: %w", err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		return "", fmt.Errorf("make the termination log: %w", err)
	}
	return file, nil
}
