package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/logs"
	"headway.dev/nodes/machine"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/probe"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/wait"
)

// stopContainers stops containers side by side, each after its preStop hook,
// within its grace period.
func (w *worker) stopContainers(ctx context.Context, p *corev1.Pod, s pod.Stop, observed runtime.Pod) error {
	a := w.agent
	w.release() // stopping may take the whole grace period
	var wg sync.WaitGroup
	errs := make([]error, len(s.Containers))
	for i, c := range s.Containers {
		a.events.Event(containerRef(p, c.Spec.Name), corev1.EventTypeNormal, "Killing", c.Message)
		runHook := w.hookDue(c.ID) && c.Spec.Lifecycle != nil && c.Spec.Lifecycle.PreStop != nil
		wg.Go(func() {
			// The hook apart: the container is stopped whatever becomes of it.
			began := time.Now()
			if runHook {
				guard.Do(ctx, "preStop hook of "+pod.Describe(p), func() { w.preStop(ctx, p, c, podIP(p, observed, a.cfg.NodeIP)) })
			}
			grace := max(c.Grace-time.Since(began), time.Second)
			err := guard.Call(ctx, "stop a container of "+pod.Describe(p), func() error { return a.cfg.Runtime.StopContainer(ctx, c.ID, grace) })
			if err != nil && !errors.Is(err, runtime.ErrNotFound) {
				errs[i] = fmt.Errorf("stop container %s: %w", c.Spec.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (w *worker) preStop(ctx context.Context, p *corev1.Pod, c pod.StopContainer, ip string) {
	hookCtx, cancel := context.WithTimeout(ctx, c.Grace)
	defer cancel()
	err := w.hook(hookCtx, p, &c.Spec, c.ID, c.Spec.Lifecycle.PreStop, ip)
	if err == nil || ctx.Err() != nil {
		return
	}
	w.agent.log.Info("preStop hook failed", "pod", pod.Describe(p), "container", c.Spec.Name, "err", err)
	if !errors.Is(err, context.DeadlineExceeded) {
		w.agent.events.Event(containerRef(p, c.Spec.Name), corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
}

// hook runs a lifecycle handler to its end.
func (w *worker) hook(ctx context.Context, p *corev1.Pod, c *corev1.Container, id string, h *corev1.LifecycleHandler, ip string) error {
	switch {
	case h.Exec != nil:
		var output limitedBuffer
		code, err := w.agent.cfg.Runtime.Exec(ctx, id, runtime.ExecOptions{Command: h.Exec.Command, Stdout: &output, Stderr: &output})
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("command %q exited with %d: %s", strings.Join(h.Exec.Command, " "), code, output.String())
		}
		return nil
	case h.HTTPGet != nil:
		resp, err := probe.Get(ctx, h.HTTPGet, ip, *c, 0, "kube-lifecycle/1.37")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 10<<10))
		if resp.StatusCode >= http.StatusBadRequest {
			return fmt.Errorf("hook of %s answered %s", pod.Describe(p), resp.Status)
		}
		return nil
	case h.Sleep != nil:
		if !wait.Sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second) {
			return ctx.Err()
		}
		return nil
	}
	return errors.New("invalid handler: use exec, httpGet or sleep")
}

// teardown releases everything the pod holds on this machine, its logs aside.
func (w *worker) teardown(ctx context.Context, p *corev1.Pod) error {
	a := w.agent
	w.memory.Lock()
	w.closing = true
	w.memory.Unlock()
	a.probes.Sync(p, "", nil, true)
	err := a.cfg.Runtime.RemoveSandbox(ctx, pod.Ref(p))
	if err != nil {
		err = fmt.Errorf("remove sandbox: %w", err)
	}
	// Also after a failure: on a full disk it may be the volumes that fill it.
	if err := errors.Join(err, a.volumes.Teardown(w.uid)); err != nil {
		return err
	}
	a.objects.Release(w.uid)
	a.tokens.Release(w.uid)
	w.memory.Lock()
	w.tornDown = true
	w.memory.Unlock()
	return nil
}

// The kubelet's bounds of a termination message.
const (
	maxMessage      = 4096
	maxLogMessage   = 2048
	maxLogLines     = 80
	maxProbeCapture = 10 << 10
)

// readMessages fetches the termination messages of containers that have died
// since the last look.
func (w *worker) readMessages(p *corev1.Pod, observed runtime.Pod) {
	specs := map[string]*corev1.Container{}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			specs[list[i].Name] = &list[i]
		}
	}
	alive := map[string]bool{}
	for _, c := range observed.Containers {
		alive[c.ID] = true
		spec := specs[c.Name]
		if _, have := w.messages[c.ID]; have || spec == nil || c.State != runtime.Exited {
			continue
		}
		message := tailOf(w.terminationFile(c.Name, c.Attempt))
		if message == "" && spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError && c.ExitCode != 0 {
			message = logs.Tail(w.agent.cfg.Runtime.LogPath(c.Pod, c.Name, c.Attempt), maxLogLines, maxLogMessage)
		}
		w.messages[c.ID] = message
	}
	for id := range w.messages {
		if !alive[id] {
			delete(w.messages, id)
		}
	}
	for id := range w.hooks {
		if !alive[id] {
			delete(w.hooks, id)
		}
	}
}

// tailOf is the end of a file that a container wrote: at most maxMessage bytes,
// whatever is there.
func tailOf(name string) string {
	f, err := machine.OpenRegular(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	if info.Size() > maxMessage {
		if _, err := f.Seek(-maxMessage, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxMessage))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(data), "\uFFFD")
}

// limitedBuffer keeps the first bytes written to it and drops the rest.
type limitedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := maxProbeCapture - b.buf.Len(); room > 0 {
		b.buf.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

func (b *limitedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// execProbe runs the commands of exec probes.
type execProbe struct{ runtime runtime.Interface }

func (e execProbe) ExecProbe(ctx context.Context, id string, command []string, timeout time.Duration) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var output limitedBuffer
	code, err := e.runtime.Exec(ctx, id, runtime.ExecOptions{Command: command, Stdout: &output, Stderr: &output, Timeout: timeout})
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return output.String(), code, err
}
