package containerd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/errdefs"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/capture"
	"headway.dev/nodes/runtime/images"
)

// deleteTask kills and deletes the container's task, if there is one.
func (r *Runtime) deleteTask(ctx context.Context, id string) error {
	for try := 0; ; try++ {
		_, err := r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		if err = errdefs.FromGRPC(err); err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if try == 100 || ctx.Err() != nil {
			return fmt.Errorf("delete task: %w", err)
		}
		// Most likely it runs; the shim's error for that has no code of its own.
		if err := r.kill(ctx, id, unix.SIGKILL); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// kill signals the container's first process, all of them with SIGKILL. One
// that has ended is no error; then who waits for the exit must not wait for an
// event that has been missed.
func (r *Runtime) kill(ctx context.Context, id string, sig unix.Signal) error {
	_, err := r.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig), All: sig == unix.SIGKILL})
	err = errdefs.FromGRPC(err)
	if errdefs.IsNotFound(err) {
		return r.resync(ctx)
	}
	if err != nil {
		return fmt.Errorf("send %s: %w", unix.SignalName(sig), err)
	}
	return nil
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
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	ctx = r.namespaced(ctx)
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
		if err := r.kill(ctx, id, sig); err != nil {
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
	if err := r.kill(ctx, id, unix.SIGKILL); err != nil {
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
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
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
func (r *Runtime) removeContainer(ctx context.Context, id string) error {
	ctx = r.namespaced(ctx)
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
	if err := r.deleteContainer(ctx, id); err != nil {
		return fmt.Errorf("remove container %s: %w", c.info.Name, err)
	}
	if err := errors.Join(c.removeIO(r), r.removeRecord(c)); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.containers, id)
	r.mu.Unlock()
	r.emit(c.info.Pod.UID)
	return nil
}

// deleteContainer deletes task, snapshot and container, as far as there are.
func (r *Runtime) deleteContainer(ctx context.Context, id string) error {
	if err := r.deleteTask(ctx, id); err != nil {
		return err
	}
	if err := r.client.SnapshotService(images.Snapshotter).Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete its file system: %w", err)
	}
	if err := r.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete it: %w", err)
	}
	return nil
}
