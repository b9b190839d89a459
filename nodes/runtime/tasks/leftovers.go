package tasks

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

	tasktypes "github.com/containerd/containerd/api/types/task"
	"golang.org/x/sync/errgroup"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/fsutil"
	"headway.dev/nodes/runtime/record"
)

// An end of this process in the midst of a start leaves things that containerd
// lists nowhere: a shim that serves no container, runc's state of a process that
// waits to be started, and the directory of a task. Nobody else removes them, and
// each of them is in the way of the next start of the same container.

// leftoverWait is how long containerd may take to clean up what was cut off
// before it is done here; its own limit is 5 seconds, under load twice.
const leftoverWait = 12 * time.Second

// RemoveLeftovers removes what interrupted starts have left. Nothing else may
// start containers meanwhile.
func (s *Service) RemoveLeftovers(ctx context.Context) error {
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	serves, err := s.servedSockets(ctx, all)
	if err != nil {
		return err
	}
	// The shims first: one that lives may still be making a process.
	errs := []error{daemon.EndIdleShims(ctx, s.address, s.namespace, serves, s.log)}
	ids := map[string]bool{}
	for _, dir := range []string{s.runc, s.taskDir()} {
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
			return guard.Call(ctx, "remove what is left of "+id, func() error { return s.removeLeftover(ctx, id) })
		})
	}
	return errors.Join(append(errs, g.Wait())...)
}

// servedSockets are the sockets of the shims that have a task.
func (s *Service) servedSockets(ctx context.Context, all map[string]*tasktypes.Process) (map[string]bool, error) {
	stored, err := s.client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	serves := map[string]bool{}
	for _, c := range stored {
		if all[c.ID] != nil {
			serves[daemon.ShimSocket(s.address, s.namespace, record.PodUID(c.Labels))] = true
		}
	}
	return serves, nil
}

// taskDir is where containerd keeps the directories of the tasks: only of our own is
// it known.
func (s *Service) taskDir() string {
	if s.daemon == nil {
		return ""
	}
	return filepath.Join(s.daemon.State, "io.containerd.runtime.v2.task", s.namespace)
}

// removeLeftover removes what is left of a task that containerd does not list.
func (s *Service) removeLeftover(ctx context.Context, id string) error {
	if strings.ContainsAny(id, "/\x00") || id == "" || id == "." || id == ".." {
		return fmt.Errorf("invalid container %q", id)
	}
	var bundle string
	if dir := s.taskDir(); dir != "" {
		bundle = filepath.Join(dir, id)
	}
	state := filepath.Join(s.runc, id)
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
		out, err := exec.CommandContext(ctx, "runc", "--root", s.runc, "delete", "--force", id).CombinedOutput()
		if err != nil && !bytes.Contains(out, []byte("does not exist")) {
			errs = append(errs, fmt.Errorf("remove what is left of container %s: %w: %s", id, err, bytes.TrimSpace(out)))
		}
	}
	if !gone(bundle) {
		s.log.Info("removing what a start that was cut off left", "id", id)
		work := filepath.Join(s.daemon.Root, "io.containerd.runtime.v2.task", s.namespace, id)
		err := fsutil.UnmountBelow(bundle)
		if err == nil { // or files of the container's could be removed
			err = errors.Join(os.RemoveAll(bundle), os.RemoveAll(work))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
