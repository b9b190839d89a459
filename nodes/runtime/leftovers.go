package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/errdefs"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
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
	errs := []error{r.endIdleShims(ctx, serves)}
	ids := map[string]bool{}
	for _, dir := range []string{r.runcDir(), r.taskDir()} {
		entries, err := os.ReadDir(dir)
		errs = append(errs, ignoreNotExist(err))
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
			serves[shimSocket(r.address, r.cfg.Namespace, s.Labels[labelUID])] = true
		}
	}
	return serves, nil
}

// endIdleShims ends our shims that listen on none of these sockets.
func (r *Runtime) endIdleShims(ctx context.Context, serves map[string]bool) error {
	found, err := findShims(r.address, r.cfg.Namespace)
	if err != nil || len(found) == 0 {
		return err
	}
	paths, err := unixSockets()
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range found {
		socket := s.socket(paths)
		// One without a socket is only on its way: containerd's helper.
		if socket == "" || serves[socket] {
			continue
		}
		r.log.Info("ending a shim without a container", "pid", s.pid)
		if err := unix.Kill(s.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("end shim %d: %w", s.pid, err))
			continue
		}
		errs = append(errs, removeDeadSocket(ctx, socket))
	}
	return errors.Join(errs...)
}

// runcDir is where runc keeps its states, taskDir containerd those of the tasks:
// only of our own is it known.
func (r *Runtime) runcDir() string { return filepath.Join(r.cfg.RunDir, "runc", r.cfg.Namespace) }

func (r *Runtime) taskDir() string {
	if r.daemon == nil {
		return ""
	}
	return filepath.Join(r.daemon.state, "io.containerd.runtime.v2.task", r.cfg.Namespace)
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
		work := filepath.Join(r.daemon.root, "io.containerd.runtime.v2.task", r.cfg.Namespace, id)
		err := unmountBelow(bundle)
		if err == nil { // or files of the container's could be removed
			err = errors.Join(os.RemoveAll(bundle), os.RemoveAll(work))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// leftover reports whether a create failed because of what an earlier one of
// the same container left: the task's directory, or runc's state.
func leftover(err error) bool {
	text := err.Error()
	return strings.Contains(text, "io.containerd.runtime.v2.task") && strings.Contains(text, "file exists") ||
		strings.Contains(text, "container with given ID already exists") || strings.Contains(text, "container with id exists")
}

// interrupted reports whether a start failed for a reason that says nothing
// about the container: containerd or the shim went away, or did not answer.
func interrupted(err error) bool {
	text := err.Error()
	switch {
	case leftover(err):
		return true
	case strings.Contains(text, "OCI runtime"):
		return false // runc's word on the container
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), shimGone(err):
		return true
	}
	for _, s := range []string{
		"error reading from server", "transport is closing", "connection reset by peer", "context deadline exceeded",
		"context canceled", "broken pipe", "error while dialing", "signal: killed",
	} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// InterruptedError says that a container was not started for a reason that is
// not its own: it is as it was, to be started again.
type InterruptedError struct{ Err error }

func (e *InterruptedError) Error() string { return e.Err.Error() }

// Unwrap implements errors.
func (e *InterruptedError) Unwrap() error { return e.Err }

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

// shimProcess is a shim that runs.
type shimProcess struct{ pid int }

// findShims lists the shims of a containerd address and namespace.
func findShims(address, namespace string) ([]shimProcess, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var out []shimProcess
	for _, line := range lines {
		data, err := os.ReadFile(line)
		if err != nil {
			continue // it has ended
		}
		args := bytes.Split(data, []byte{0})
		if !bytes.Contains(args[0], []byte("containerd-shim")) || !hasFlag(args, "-address", address) || !hasFlag(args, "-namespace", namespace) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line))); err == nil {
			out = append(out, shimProcess{pid})
		}
	}
	return out, nil
}

// socket is the path the shim listens on, of those the kernel knows.
func (s shimProcess) socket(paths map[string]string) string {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.pid))
	if err != nil {
		return ""
	}
	for _, file := range files {
		target, err := os.Readlink(file)
		if err != nil {
			continue
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			if path := paths[strings.TrimSuffix(inode, "]")]; strings.HasPrefix(path, shimSockets) {
				return path
			}
		}
	}
	return ""
}

// unixSockets are the paths of the machine's sockets by inode.
func unixSockets() (map[string]string, error) {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 8 {
			out[f[6]] = f[7]
		}
	}
	return out, nil
}
