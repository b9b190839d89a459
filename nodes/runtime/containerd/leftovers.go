package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/fsutil"
)

// An end of this process in the midst of a start leaves things that containerd
// lists nowhere: a shim that serves no container, runc's state of a process that
// waits to be started, and the directory of a task. Nobody else removes them, and
// each of them is in the way of the next start of the same container.

// leftoverWait is how long containerd may take to clean up what was cut off
// before it is done here; its own limit is 5 seconds, under load twice.
const leftoverWait = 12 * time.Second

// removeLeftovers removes what starts that were cut off have left. Nothing else
// may start containers meanwhile.
func (r *Runtime) removeLeftovers(ctx context.Context) error {
	all, err := r.tasks(ctx)
	if err != nil {
		return err
	}
	serves, err := r.servedSockets(ctx, all)
	if err != nil {
		return err
	}
	// The shims first: one that lives may still be making a process.
	errs := []error{daemon.EndIdleShims(ctx, r.address, r.cfg.Namespace, serves, r.log)}
	ids := map[string]bool{}
	for _, dir := range []string{r.runcDir(), r.taskDir()} {
		entries, err := os.ReadDir(dir)
		errs = append(errs, fsutil.IgnoreNotExist(err))
		for _, e := range entries {
			if all[e.Name()] == nil {
				ids[e.Name()] = true
			}
		}
	}
	var g errgroup.Group // each may wait
	for id := range ids {
		g.Go(func() error {
			return guard.Call(ctx, "remove what is left of "+id, func() error { return r.removeLeftover(ctx, id) })
		})
	}
	return errors.Join(append(errs, g.Wait())...)
}

// servedSockets are the sockets of the shims that have a task.
func (r *Runtime) servedSockets(ctx context.Context, all map[string]*tasktypes.Process) (map[string]bool, error) {
	stored, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	serves := map[string]bool{}
	for _, s := range stored {
		if all[s.ID] != nil {
			serves[daemon.ShimSocket(r.address, r.cfg.Namespace, s.Labels[labelUID])] = true
		}
	}
	return serves, nil
}

// runcDir is where runc keeps its states, taskDir containerd those of the tasks:
// only of our own is it known.
func (r *Runtime) runcDir() string { return filepath.Join(r.cfg.RunDir, "runc", r.cfg.Namespace) }

func (r *Runtime) taskDir() string {
	if r.daemon == nil {
		return ""
	}
	return filepath.Join(r.daemon.State, "io.containerd.runtime.v2.task", r.cfg.Namespace)
}

// removeLeftover removes what is left of a task that containerd does not list.
func (r *Runtime) removeLeftover(ctx context.Context, id string) error {
	if strings.ContainsAny(id, "/\x00") || id == "" || id == "." || id == ".." {
		return fmt.Errorf("invalid container %q", id)
	}
	var bundle string
	if dir := r.taskDir(); dir != "" {
		bundle = filepath.Join(dir, id)
	}
	state := filepath.Join(r.runcDir(), id)
	gone := func(path string) bool {
		_, err := os.Lstat(path)
		return path == "" || errors.Is(err, os.ErrNotExist)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*leftoverWait)
	defer cancel()
	// containerd cleans up too, and may be at it.
	for end := time.Now().Add(leftoverWait); !gone(bundle) && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	var errs []error
	if !gone(state) {
		out, err := exec.CommandContext(ctx, "runc", "--root", r.runcDir(), "delete", "--force", id).CombinedOutput()
		if err != nil && !bytes.Contains(out, []byte("does not exist")) {
			errs = append(errs, fmt.Errorf("remove what is left of container %s: %w: %s", id, err, bytes.TrimSpace(out)))
		}
	}
	if !gone(bundle) {
		r.log.Info("removing what a start that was cut off left", "id", id)
		work := filepath.Join(r.daemon.Root, "io.containerd.runtime.v2.task", r.cfg.Namespace, id)
		err := fsutil.UnmountBelow(bundle)
		if err == nil { // or files of the container's could be removed
			err = errors.Join(os.RemoveAll(bundle), os.RemoveAll(work))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// takeUp goes on with a start of this process that was interrupted. It reports
// whether the container has been started, and when.
func (r *Runtime) takeUp(ctx context.Context, c *container) (started time.Time, done bool, err error) {
	rec, asked := r.loadRecord(c)
	_, err = r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: c.info.ID})
	err = errdefs.FromGRPC(err)
	switch {
	case err == nil && asked:
		if err := r.begin(ctx, c.info.ID); err != nil {
			return started, false, fmt.Errorf("go on with an interrupted start: %w", err)
		}
		return rec.StartedAt, true, nil
	case err == nil:
		return started, false, r.deleteTask(ctx, c.info.ID)
	case errdefs.IsNotFound(err):
		return started, false, r.removeRecord(c)
	default:
		return started, false, fmt.Errorf("look at an interrupted start: %w", err)
	}
}

// begin starts the process of a task, or finds that it has been started: who
// asked for it before may not have lived to hear the answer.
func (r *Runtime) begin(ctx context.Context, id string) error {
	_, err := r.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: id})
	if err == nil {
		return nil
	}
	err = errdefs.FromGRPC(err)
	got, lookErr := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if lookErr == nil && got.Process.Status != tasktypes.Status_CREATED && got.Process.Status != tasktypes.Status_UNKNOWN {
		return nil
	}
	return err
}
