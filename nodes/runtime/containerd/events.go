package containerd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	store "github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/errdefs"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/record"
)

// exited records a container's end, in the background, because it waits for
// the rest of its output.
func (r *containerSet) exited(id string, code uint32, at time.Time) {
	r.mu.Lock()
	c := r.containers[id]
	if c == nil || c.exiting || c.info.State == runtime.Exited {
		r.mu.Unlock()
		return
	}
	c.exiting = true
	r.mu.Unlock()
	r.work.run(func(ctx context.Context) {
		// A start under way first: it decides what the container is.
		c.op.Lock()
		defer c.op.Unlock()
		if err := guard.Call(ctx, "record the exit of container "+c.info.Name, func() error { return r.finish(ctx, c, code, at) }); err != nil {
			r.log.Warn("cannot record a container's exit yet", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
			r.mu.Lock()
			c.exiting = false
			r.mu.Unlock()
		}
	})
}

// finish deletes the task of a container that has ended and records how.
func (r *containerSet) finish(ctx context.Context, c *container, code uint32, at time.Time) error {
	known := r.stateOf(c)
	if known.State == runtime.Exited {
		return nil
	}
	rec, ok := record.Load(c.record)
	if !ok {
		rec.StartedAt = known.StartedAt
	}
	// Before the task: with it goes the cgroup.
	kills := r.cgroups.OOMKills(c.cgroup)
	rec.FinishedAt, rec.ExitCode = at.UTC(), int32(code)
	r.mu.Lock()
	// The kernel also kills a child and leaves the container running, so the
	// count alone is not enough.
	rec.OOMKilled = code == 137 && (c.oom || kills > 0)
	r.mu.Unlock()
	// Only the task knows it otherwise: an end of this process after the
	// deletion would make a success a failure.
	if err := rec.Save(c.record); err != nil {
		r.log.Warn("a container's exit is not on disk yet", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
	}
	// It returns when the shim has passed on all output.
	_, err := r.client.TaskService().Delete(ctx, &taskapi.DeleteTaskRequest{ContainerID: c.info.ID})
	if err = errdefs.FromGRPC(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete task: %w", err)
	}
	return r.recordExit(c, rec)
}

// recordExit makes the end of a container known: on disk, in memory, to who
// waits, as an event. Its output is complete before.
func (r *containerSet) recordExit(c *container, rec record.Exit) error {
	c.finishIO()
	err := rec.Save(c.record)
	r.mu.Lock()
	if c.info.State != runtime.Exited {
		c.applyExit(rec)
		close(c.done)
	}
	r.mu.Unlock()
	r.hints.emit(c.info.Pod.UID)
	return err
}

func (c *container) applyExit(rec record.Exit) {
	c.info.State = runtime.Exited
	c.info.StartedAt, c.info.FinishedAt = rec.StartedAt, rec.FinishedAt
	c.info.ExitCode, c.info.OOMKilled = rec.ExitCode, rec.OOMKilled
	c.info.Reason, c.info.Message = rec.Reason, rec.Message
}

// resync finds the exits whose events were missed.
func (r *containerSet) resync(ctx context.Context) error {
	r.mu.Lock()
	var running []*container
	for _, c := range r.containers {
		if c.info.State == runtime.Running && !c.exiting {
			running = append(running, c)
		}
	}
	r.mu.Unlock()
	// After the list of containers: one started in between is not missed.
	all, err := r.tasks.List(ctx)
	if err != nil {
		return err
	}
	for _, c := range running {
		switch t := all[c.info.ID]; {
		case t == nil:
			// An exit being recorded deletes the task itself.
			r.mu.Lock()
			known := c.exiting || c.info.State == runtime.Exited
			c.exiting = true
			r.mu.Unlock()
			if !known {
				r.lost(c)
			}
		case t.Status == tasktypes.Status_STOPPED:
			r.exited(c.info.ID, t.ExitStatus, t.ExitedAt.AsTime())
		}
	}
	return nil
}

// lost records the end of a container nobody saw, as the kubelet reports it.
func (r *containerSet) lost(c *container) {
	rec, ok := record.Load(c.record)
	if !ok {
		rec.StartedAt = c.info.CreatedAt
	}
	rec.FinishedAt, rec.ExitCode = time.Now().UTC(), 137
	rec.Reason, rec.Message = "ContainerStatusUnknown", "The container could not be located when the node's agent looked for it"
	if err := r.recordExit(c, rec); err != nil {
		r.log.Warn("cannot record a container's exit", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
	}
}

// adopt reads back everything of a former run.
func (r *containerSet) adopt(ctx context.Context) error {
	if err := r.boxes.loadSandboxes(ctx); err != nil {
		return err
	}
	stored, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	all, err := r.tasks.List(ctx)
	if err != nil {
		return err
	}
	// Before anything is started again, and after what is listed is known.
	defer func() {
		if err := r.tasks.RemoveLeftovers(ctx); err != nil {
			r.log.Warn("what a start that was cut off left cannot all be removed", "err", err)
		}
	}()
	for _, s := range stored {
		left, err := r.adoptContainer(ctx, s, all[s.ID])
		if err == nil && left != nil {
			err = left(ctx)
		}
		if err == nil {
			continue
		}
		// One broken container must not keep the others from being served.
		r.log.Error("cannot adopt a container", "id", s.ID, "pod", record.PodUID(s.Labels), "err", err)
		if left != nil {
			r.work.run(func(ctx context.Context) { r.insist(ctx, s.ID, left) })
		}
	}
	return nil
}

// insistBackoff is how long to wait between attempts to do what is left of an adoption.
var insistBackoff = loop.Backoff{First: time.Second, Last: time.Minute, Spread: 0.1}

// insist does what is left of the adoption of a container that failed, until it is done.
func (r *containerSet) insist(ctx context.Context, id string, left func(context.Context) error) {
	for failures := 0; ; failures++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(insistBackoff.After(failures)):
		}
		err := guard.Call(ctx, "adopt container "+id, func() error { return left(ctx) })
		if err == nil {
			r.log.Info("adopted a container after all", "id", id, "failures", failures+1)
			return
		}
		r.log.Warn("cannot adopt a container yet", "id", id, "err", err)
	}
}

// adoptContainer makes a container of a former run known. It returns what is left to do
// with it then, which may be tried again.
func (r *containerSet) adoptContainer(ctx context.Context, stored store.Container, task *tasktypes.Process) (left func(context.Context) error, err error) {
	if record.PodUID(stored.Labels) == "" {
		return nil, nil // Somebody else's.
	}
	c, err := r.fromStored(stored)
	if err != nil {
		return nil, err
	}
	rec, started := record.Load(c.record)
	if !started {
		// Its create or start was not finished: it never ran, so it can be
		// made again.
		r.log.Info("removing a container that was never started", "container", c.info.Name, "pod", c.info.Pod.UID)
		return r.whileIts(c, nil, func(ctx context.Context) error { return r.tasks.DeleteContainer(ctx, stored.ID) }), nil
	}
	c.attached.Store(c.wasAttached())
	r.mu.Lock()
	r.containers[stored.ID] = c
	r.mu.Unlock()
	// With a task left, the former process had not come to deleting it and to the
	// rest of the output; a start that failed has none.
	if !rec.FinishedAt.IsZero() && (task == nil || rec.Reason != "") {
		c.applyExit(rec)
		close(c.done)
		return r.whileIts(c, c, func(ctx context.Context) error { return r.tasks.Delete(ctx, stored.ID) }), nil
	}
	c.info.State, c.info.StartedAt = runtime.Running, rec.StartedAt
	if task != nil && c.cgroup == "" {
		c.cgroup = filepath.Join(r.cgroups.PodPath("BestEffort", c.info.Pod.UID), stored.ID)
	}
	if err := r.openIO(c); err != nil {
		r.log.Error("cannot copy the output of a container", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
	}
	switch {
	case task == nil:
		r.lost(c)
	case task.Status == tasktypes.Status_STOPPED:
		r.exited(stored.ID, task.ExitStatus, task.ExitedAt.AsTime())
	case task.Status == tasktypes.Status_CREATED:
		// The agent ended between the record and the start.
		if err := r.tasks.Begin(ctx, stored.ID); err != nil {
			r.log.Info("removing a container whose start was cut off", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
			c.closeIO()
			r.mu.Lock()
			delete(r.containers, stored.ID)
			r.mu.Unlock()
			return r.whileIts(c, nil, func(ctx context.Context) error {
				return errors.Join(r.tasks.DeleteContainer(ctx, stored.ID), c.removeIO(), c.removeRecord())
			}), nil
		}
	}
	if task == nil {
		return nil, nil
	}
	// The former process may have ended between the start and this.
	return r.whileIts(c, c, func(context.Context) error {
		if err := r.setQuotas(c); err != nil {
			return fmt.Errorf("bound the CPU time of a container: %w", err)
		}
		return nil
	}), nil
}

// whileIts does something with a stored container, as long as what is known under its ID
// is the one that is given, or nothing: a container that is made again has the same.
func (r *containerSet) whileIts(c, known *container, do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		defer r.podLock.lock(c.info.Pod.UID + "/" + c.info.Name)()
		r.mu.Lock()
		is := r.containers[c.info.ID]
		r.mu.Unlock()
		if is != known {
			return nil
		}
		return do(ctx)
	}
}
