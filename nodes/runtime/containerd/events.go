package containerd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/events"
	"github.com/containerd/typeurl/v2"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime"
)

// resyncEvery is how often the state is compared with containerd's though no
// event came: nothing depends on events being complete.
const resyncEvery = time.Minute

// watch follows containerd's events until ctx ends. Whenever the stream breaks
// it makes sure containerd runs, and compares everything anew. It reports the
// first comparison on ready.
func (r *Runtime) watch(ctx context.Context, ready chan<- error) {
	for first := true; ctx.Err() == nil; first = false {
		err := guard.Call(ctx, "follow containerd's events", func() error { return r.follow(ctx, first, ready) })
		select {
		case ready <- err: // it panicked before it could say so
		default:
		}
		if ctx.Err() != nil {
			return
		}
		r.log.Warn("lost containerd's events; connecting again", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		if r.daemon == nil {
			continue
		}
		if err := guard.Call(ctx, "start containerd again", func() error { return r.daemon.Ensure(ctx) }); err != nil && ctx.Err() == nil {
			r.log.Error("cannot start containerd again", "err", err)
		}
	}
}

// follow subscribes, reads what there is, and handles events until the stream
// ends.
func (r *Runtime) follow(ctx context.Context, first bool, ready chan<- error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Before reading, so that nothing falls in between.
	stream, errs := r.client.Subscribe(ctx,
		"namespace=="+r.cfg.Namespace+`,topic=="/tasks/exit"`,
		"namespace=="+r.cfg.Namespace+`,topic=="/tasks/oom"`,
		"namespace=="+r.cfg.Namespace+`,topic=="/images/update"`)
	var err error
	if first {
		err = r.adopt(ctx)
		ready <- err
	} else {
		err = r.resync(ctx)
	}
	if err != nil {
		return err
	}
	tick := time.NewTicker(resyncEvery)
	defer tick.Stop()
	for {
		select {
		case e := <-stream:
			guard.Do(ctx, "take up an event of containerd", func() { r.handle(e) })
		case err := <-errs:
			return err
		case <-tick.C:
			if err := r.resync(ctx); err != nil {
				return err
			}
		}
	}
}

func (r *Runtime) handle(e *events.Envelope) {
	if e == nil || e.Event == nil {
		return
	}
	event, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		r.log.Warn("unreadable containerd event", "topic", e.Topic, "err", err)
		return
	}
	switch event := event.(type) {
	case *eventsapi.TaskOOM:
		r.mu.Lock()
		if c := r.containers[event.ContainerID]; c != nil {
			c.oom = true
		}
		r.mu.Unlock()
	case *eventsapi.ImageUpdate:
		if event.Labels[labelImported] != "" {
			r.emit("")
		}
	case *eventsapi.TaskExit:
		// Processes of exec have an ID of their own.
		if event.ID == event.ContainerID {
			r.exited(event.ContainerID, event.ExitStatus, event.ExitedAt.AsTime())
		}
	}
}

// exited records a container's end, in the background, because it waits for
// the rest of its output.
func (r *Runtime) exited(id string, code uint32, at time.Time) {
	r.mu.Lock()
	c := r.containers[id]
	if c == nil || c.exiting || c.info.State == runtime.Exited {
		r.mu.Unlock()
		return
	}
	c.exiting = true
	r.mu.Unlock()
	r.background(func(ctx context.Context) {
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
func (r *Runtime) finish(ctx context.Context, c *container, code uint32, at time.Time) error {
	known := r.stateOf(c)
	if known.State == runtime.Exited {
		return nil
	}
	rec, ok := r.loadRecord(c)
	if !ok {
		rec.StartedAt = known.StartedAt
	}
	// Before the task: with it goes the cgroup.
	kills := r.cgroups.OomKills(c.cgroup)
	rec.FinishedAt, rec.ExitCode = at.UTC(), int32(code)
	r.mu.Lock()
	// The kernel also kills a child and leaves the container running, so the
	// count alone is not enough.
	rec.OOMKilled = code == 137 && (c.oom || kills > 0)
	r.mu.Unlock()
	// Only the task knows it otherwise: an end of this process after the
	// deletion would make a success a failure.
	if err := r.saveRecord(c, rec); err != nil {
		r.log.Warn("a container's exit is not on disk yet", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
	}
	// It returns when the shim has passed on all output.
	_, err := r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: c.info.ID})
	if err = errdefs.FromGRPC(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete task: %w", err)
	}
	return r.recordExit(c, rec)
}

// recordExit makes the end of a container known: on disk, in memory, to who
// waits, as an event. Its output is complete before.
func (r *Runtime) recordExit(c *container, rec exitRecord) error {
	c.finishIO()
	err := r.saveRecord(c, rec)
	r.mu.Lock()
	if c.info.State != runtime.Exited {
		c.applyExit(rec)
		close(c.done)
	}
	r.mu.Unlock()
	r.emit(c.info.Pod.UID)
	return err
}

func (c *container) applyExit(rec exitRecord) {
	c.info.State = runtime.Exited
	c.info.StartedAt, c.info.FinishedAt = rec.StartedAt, rec.FinishedAt
	c.info.ExitCode, c.info.OOMKilled = rec.ExitCode, rec.OOMKilled
	c.info.Reason, c.info.Message = rec.Reason, rec.Message
}

// tasks returns the tasks of our namespace by container ID.
func (r *Runtime) tasks(ctx context.Context) (map[string]*tasktypes.Process, error) {
	list, err := r.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", errdefs.FromGRPC(err))
	}
	out := map[string]*tasktypes.Process{}
	for _, t := range list.Tasks {
		out[t.ID] = t
	}
	return out, nil
}

// resync finds the exits whose events were missed.
func (r *Runtime) resync(ctx context.Context) error {
	r.mu.Lock()
	var running []*container
	for _, c := range r.containers {
		if c.info.State == runtime.Running && !c.exiting {
			running = append(running, c)
		}
	}
	r.mu.Unlock()
	// After the list of containers: one started in between is not missed.
	all, err := r.tasks(ctx)
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
func (r *Runtime) lost(c *container) {
	rec, ok := r.loadRecord(c)
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
func (r *Runtime) adopt(ctx context.Context) error {
	if err := r.loadSandboxes(ctx); err != nil {
		return err
	}
	stored, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	all, err := r.tasks(ctx)
	if err != nil {
		return err
	}
	// Before anything is started again, and after what is listed is known.
	defer func() {
		if err := r.removeLeftovers(ctx); err != nil {
			r.log.Warn("what a start that was cut off left cannot all be removed", "err", err)
		}
	}()
	for _, s := range stored {
		if err := r.adoptContainer(ctx, s, all[s.ID]); err != nil {
			// One broken container must not keep the others from being served.
			r.log.Error("cannot adopt a container", "id", s.ID, "pod", s.Labels[labelUID], "err", err)
		}
	}
	return nil
}

func (r *Runtime) adoptContainer(ctx context.Context, stored containers.Container, task *tasktypes.Process) error {
	if stored.Labels[labelUID] == "" {
		return nil // Somebody else's.
	}
	c, err := r.fromStored(stored)
	if err != nil {
		return err
	}
	rec, started := r.loadRecord(c)
	if !started {
		// Its create or start was not finished: it never ran, so it can be
		// made again.
		r.log.Info("removing a container that was never started", "container", c.info.Name, "pod", c.info.Pod.UID)
		return r.deleteContainer(ctx, stored.ID)
	}
	c.attached.Store(r.wasAttached(c))
	r.mu.Lock()
	r.containers[stored.ID] = c
	r.mu.Unlock()
	// With a task left, the former process had not come to deleting it and to the
	// rest of the output; a start that failed has none.
	if !rec.FinishedAt.IsZero() && (task == nil || rec.Reason != "") {
		c.applyExit(rec)
		close(c.done)
		return r.deleteTask(ctx, stored.ID)
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
		if err := r.begin(ctx, stored.ID); err != nil {
			r.log.Info("removing a container whose start was cut off", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
			c.closeIO()
			r.mu.Lock()
			delete(r.containers, stored.ID)
			r.mu.Unlock()
			return errors.Join(r.deleteContainer(ctx, stored.ID), c.removeIO(r), r.removeRecord(c))
		}
	}
	if task != nil {
		// The former process may have ended between the start and this.
		if err := r.setQuotas(c); err != nil {
			return fmt.Errorf("bound the CPU time of a container: %w", err)
		}
	}
	return nil
}
