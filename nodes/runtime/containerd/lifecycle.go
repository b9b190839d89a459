package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/errdefs"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/capture"
	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/record"
	"headway.dev/nodes/runtime/tasks"
)

// startTimeout bounds creates and starts: a containerd that hangs must not keep
// the agent from ending.
const startTimeout = time.Minute

// toTheEnd is for what must not be cut off half way by who asked for it: of a
// create nobody would know what to remove, of a start whether the process runs,
// and that would be killed without its grace period.
func toTheEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
}

// abandonTime is what a start has to come to its end once nobody wants it.
const abandonTime = 10 * time.Second

// abandon ends a start that hangs after its caller has left: by what it puts at
// /etc/passwd, a container can have its first process wait forever before it
// runs, and containerd would wait with it.
func (r *containerSet) abandon(c *container, done <-chan struct{}) {
	r.work.run(func(ctx context.Context) {
		select {
		case <-done:
		case <-ctx.Done():
		case <-time.After(abandonTime):
			err := r.cgroups.Kill(c.cgroup)
			r.log.Warn("ended a start that nobody waits for", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
		}
	})
}

// StartContainer implements Interface. A container that cannot be started, for
// example because its command does not exist, becomes Exited with Reason
// StartError, as with other container runtimes. After an InterruptedError it is
// still Created.
func (r *containerSet) StartContainer(ctx context.Context, id string) error {
	ctx = r.cfg.namespaced(ctx)
	c, err := r.get(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if r.stateOf(c).State != runtime.Created {
		return nil
	}
	release, err := r.starts.Take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	caller := ctx // ctx becomes another below, when this may run already
	defer context.AfterFunc(caller, func() {
		guard.Do(caller, "abandon the start of container "+c.info.Name, func() { r.abandon(c, done) })
	})()
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	started, err := r.start(ctx, c)
	if err != nil {
		err = fmt.Errorf("failed to start container %q: %w", c.info.Name, err)
		if c.cut = daemon.Interrupted(err); c.cut {
			return &runtime.InterruptedError{Err: err}
		}
		err = errors.Join(err, r.tasks.Delete(context.WithoutCancel(ctx), c.info.ID))
		c.closeIO()
		rec := record.Exit{StartedAt: started, FinishedAt: time.Now().UTC(), ExitCode: 128, Reason: "StartError", Message: err.Error()}
		return errors.Join(err, r.recordExit(c, rec))
	}
	r.mu.Lock()
	c.info.StartedAt = started
	if c.info.State == runtime.Created {
		c.info.State = runtime.Running
	}
	r.mu.Unlock()
	r.hints.emit(c.info.Pod.UID)
	if c.cut { // its end may have come before it was known as running
		c.cut = false
		r.work.run(func(ctx context.Context) {
			if err := r.resync(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("cannot compare the containers with containerd's", "err", err)
			}
		})
	}
	return nil
}

// start makes the task and starts it, then sets the CPU quotas. It returns
// when that was.
func (r *containerSet) start(ctx context.Context, c *container) (time.Time, error) {
	now := time.Now().UTC()
	if err := r.openIO(c); err != nil {
		return now, err
	}
	if c.cut {
		if started, done, err := r.takeUp(ctx, c); err != nil || done {
			return started, errors.Join(err, r.setQuotas(c))
		}
	}
	p := tasks.Process{ID: c.info.ID, Terminal: c.tty, Stdin: c.paths.stdin, Stdout: c.paths.log.Stdout, Stderr: c.paths.log.Stderr}
	if err := r.tasks.Create(ctx, p, r.logOf(c)); err != nil {
		return now, err
	}
	now = time.Now().UTC()
	// From here on the agent may end at any time: the record tells a started
	// container from one only created.
	if err := (record.Exit{StartedAt: now}).Save(c.record); err != nil {
		return now, err
	}
	if _, err := r.client.TaskService().Start(ctx, &taskapi.StartRequest{ContainerID: c.info.ID}); err != nil {
		return now, errdefs.FromGRPC(err)
	}
	return now, r.setQuotas(c)
}

// setQuotas bounds the CPU time of a container that has been started, and of
// its pod.
func (r *containerSet) setQuotas(c *container) error {
	box := r.sandbox(c.info.Pod.UID)
	err := r.cgroups.SetQuota(c.cgroup, c.resources)
	if box != nil {
		err = errors.Join(err, r.cgroups.SetQuota(box.rec.Cgroup, box.rec.Config.Resources))
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // It has exited and is gone already.
	}
	return err
}

// takeUp goes on with a start of this process that was interrupted. It reports
// whether the container has been started, and when.
func (r *containerSet) takeUp(ctx context.Context, c *container) (started time.Time, done bool, err error) {
	rec, asked := record.Load(c.record)
	_, err = r.client.TaskService().Get(ctx, &taskapi.GetRequest{ContainerID: c.info.ID})
	err = errdefs.FromGRPC(err)
	switch {
	case err == nil && asked:
		if err := r.tasks.Begin(ctx, c.info.ID); err != nil {
			return started, false, fmt.Errorf("go on with an interrupted start: %w", err)
		}
		return rec.StartedAt, true, nil
	case err == nil:
		return started, false, r.tasks.Delete(ctx, c.info.ID)
	case errdefs.IsNotFound(err):
		return started, false, c.removeRecord()
	default:
		return started, false, fmt.Errorf("look at an interrupted start: %w", err)
	}
}

func stopSignal(name string) (unix.Signal, error) {
	if name == "" {
		return unix.SIGTERM, nil
	}
	s, err := signal.ParseSignal(name)
	if err != nil {
		return 0, fmt.Errorf("stop signal %q: %w", name, err)
	}
	return s, nil
}

// StopContainer implements Interface.
func (r *containerSet) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	ctx = r.cfg.namespaced(ctx)
	c, err := r.get(id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	c.op.Lock()
	state := r.stateOf(c).State
	c.op.Unlock()
	if state != runtime.Running {
		return nil
	}
	if grace > 0 {
		sig, err := stopSignal(c.signal)
		if err != nil {
			return err
		}
		if err := r.tasks.Kill(ctx, id, sig); err != nil {
			return fmt.Errorf("stop container %s: %w", c.info.Name, err)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	if err := r.tasks.Kill(ctx, id, unix.SIGKILL); err != nil {
		return fmt.Errorf("stop container %s: %w", c.info.Name, err)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("container %s does not end after SIGKILL: %w", c.info.Name, ctx.Err())
	}
}

// RemoveContainer implements Interface.
func (r *containerSet) RemoveContainer(ctx context.Context, id string) error {
	c, err := r.get(id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	// The log first: once the container is gone nobody asks for this again.
	if r.stateOf(c).State != runtime.Running {
		if err := capture.Remove(c.info.LogPath); err != nil {
			return fmt.Errorf("remove log of container %s: %w", c.info.Name, err)
		}
	}
	return r.removeContainer(ctx, id)
}

// removeContainer removes a container and leaves its log.
func (r *containerSet) removeContainer(ctx context.Context, id string) error {
	ctx = r.cfg.namespaced(ctx)
	c, err := r.get(id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	c.op.Lock()
	defer c.op.Unlock()
	if r.stateOf(c).State == runtime.Running {
		return fmt.Errorf("container %s is running: stop it first", c.info.Name)
	}
	c.closeIO()
	if err := r.tasks.DeleteContainer(ctx, id); err != nil {
		return fmt.Errorf("remove container %s: %w", c.info.Name, err)
	}
	if err := errors.Join(c.removeIO(), c.removeRecord()); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.containers, id)
	r.mu.Unlock()
	r.hints.emit(c.info.Pod.UID)
	return nil
}
