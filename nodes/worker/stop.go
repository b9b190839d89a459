package worker

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
	"headway.dev/manifests/loop"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/probe"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/wait"
)

// stopContainers stops containers side by side, each after its preStop hook,
// within its grace period.
func (w *worker) stopContainers(ctx context.Context, p *corev1.Pod, s pod.Stop, observed runtime.Pod) error {
	a := w.env
	w.release() // stopping may take the whole grace period
	var wg sync.WaitGroup
	errs := make([]error, len(s.Containers))
	for i, c := range s.Containers {
		a.Events.Event(containerRef(p, c.Spec.Name), corev1.EventTypeNormal, "Killing", c.Message)
		runHook := w.hookDue(c.ID) && c.Spec.Lifecycle != nil && c.Spec.Lifecycle.PreStop != nil
		wg.Go(func() {
			if c.Again != "" {
				// Before it is asked to end: what has ended does not show why.
				// Without the note the restart policy decides what follows; it is stopped all the same.
				if err := a.Runtime.Mark(ctx, c.ID, map[string]string{pod.LabelAgain: c.Again}); err != nil && !errors.Is(err, runtime.ErrNotFound) {
					a.Log.Warn("note that a container is to start again", "pod", pod.Describe(p), "container", c.Spec.Name, "err", err)
				}
			}
			// The hook apart: the container is stopped whatever becomes of it.
			began := time.Now()
			if runHook {
				guard.Do(ctx, "preStop hook of "+pod.Describe(p), func() { a.preStop(ctx, p, c, podIP(p, observed, a.NodeIP)) })
			}
			grace := max(c.Grace-time.Since(began), time.Second)
			err := guard.Call(ctx, "stop a container of "+pod.Describe(p), func() error { return a.Runtime.StopContainer(ctx, c.ID, grace) })
			if err != nil && !errors.Is(err, runtime.ErrNotFound) {
				errs[i] = fmt.Errorf("stop container %s: %w", c.Spec.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// teardown releases everything the pod holds on this machine, its logs aside.
func (w *worker) teardown(ctx context.Context, p *corev1.Pod) error {
	a := w.env
	w.memory.Lock()
	w.closing = true
	w.memory.Unlock()
	a.Probes.Sync(p, "", nil, true)
	err := a.Runtime.RemoveSandbox(ctx, pod.Ref(p))
	if err != nil {
		err = fmt.Errorf("remove sandbox: %w", err)
	}
	// Also after a failure: on a full disk it may be the volumes that fill it.
	if err := errors.Join(err, a.Volumes.Teardown(w.uid)); err != nil {
		return err
	}
	a.Objects.Release(w.uid)
	a.Tokens.Release(w.uid)
	w.memory.Lock()
	w.tornDown = true
	w.memory.Unlock()
	return nil
}

func (a *Env) preStop(ctx context.Context, p *corev1.Pod, c pod.StopContainer, ip string) {
	hookCtx, cancel := context.WithTimeout(ctx, c.Grace)
	defer cancel()
	err := a.hook(hookCtx, p, &c.Spec, c.ID, c.Spec.Lifecycle.PreStop, ip)
	if err == nil || ctx.Err() != nil {
		return
	}
	a.Log.Info("preStop hook failed", "pod", pod.Describe(p), "container", c.Spec.Name, "err", err)
	if !errors.Is(err, context.DeadlineExceeded) {
		a.Events.Event(containerRef(p, c.Spec.Name), corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
}

// hook runs a lifecycle handler to its end.
func (a *Env) hook(ctx context.Context, p *corev1.Pod, c *corev1.Container, id string, h *corev1.LifecycleHandler, ip string) error {
	switch {
	case h.Exec != nil:
		var output limitedBuffer
		code, err := a.Runtime.Exec(ctx, id, runtime.ExecOptions{Command: h.Exec.Command, Stdout: &output, Stderr: &output})
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
		if !wait.Sleep(ctx, loop.Seconds(h.Sleep.Seconds)) {
			return ctx.Err()
		}
		return nil
	}
	return errors.New("invalid handler: use exec, httpGet or sleep")
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

// ExecProbe runs the commands of exec probes.
type ExecProbe struct{ Runtime runtime.Interface }

// ExecProbe runs a command for at most timeout.
func (e ExecProbe) ExecProbe(ctx context.Context, id string, command []string, timeout time.Duration) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var output limitedBuffer
	code, err := e.Runtime.Exec(ctx, id, runtime.ExecOptions{Command: command, Stdout: &output, Stderr: &output, Timeout: timeout})
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return output.String(), code, err
}
