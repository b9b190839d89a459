package tasks

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/mount"
	"golang.org/x/sys/unix"

	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/images"
)

// Service manages the tasks of our namespace.
type Service struct {
	client    *containerd.Client
	address   string // of containerd
	namespace string
	runc      string         // where runc keeps its states
	daemon    *daemon.Daemon // nil with a containerd of somebody else
	gone      func(ctx context.Context) error
	log       *slog.Logger
}

// Config determines whose tasks are managed.
type Config struct {
	Client *containerd.Client
	// Address is containerd's, Namespace ours in it.
	Address, Namespace string
	// RuncRoot is where runc keeps its states, by namespace.
	RuncRoot string
	// Daemon is the private containerd; nil with somebody else's.
	Daemon *daemon.Daemon
	// Gone is called when a process that is to be signalled has ended: a caller
	// waiting for its exit must not wait for an event that has been missed.
	Gone func(ctx context.Context) error
	Log  *slog.Logger
}

// New returns the service.
func New(c Config) *Service {
	return &Service{
		client: c.Client, address: c.Address, namespace: c.Namespace, runc: filepath.Join(c.RuncRoot, c.Namespace),
		daemon: c.Daemon, gone: c.Gone, log: c.Log,
	}
}

// List returns the tasks of our namespace by container ID.
func (s *Service) List(ctx context.Context) (map[string]*tasktypes.Process, error) {
	list, err := s.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", errdefs.FromGRPC(err))
	}
	out := map[string]*tasktypes.Process{}
	for _, t := range list.Tasks {
		out[t.ID] = t
	}
	return out, nil
}

// Process is a container's first process, and the FIFOs of its streams.
type Process struct {
	ID                    string
	Terminal              bool
	Stdin, Stdout, Stderr string
}

// Create asks containerd for a container's process, which waits to be started.
// log names the container. If the pod's shim is about to end because its last
// container has just gone, the first try fails, and the second gets a new shim.
func (s *Service) Create(ctx context.Context, p Process, log *slog.Logger) error {
	mounts, err := s.client.SnapshotService(images.Snapshotter).Mounts(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("mount its file system: %w", err)
	}
	req := &tasks.CreateTaskRequest{
		ContainerID: p.ID, Terminal: p.Terminal, Rootfs: rootfs(mounts),
		Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr,
	}
	for try := 0; ; try++ {
		if _, err = s.client.TaskService().Create(ctx, req); err == nil {
			return nil
		}
		err = errdefs.FromGRPC(err)
		if try == 3 || ctx.Err() != nil || !daemon.ShimGone(err) && !daemon.Leftover(err) {
			return fmt.Errorf("failed to create task for container: %w", err)
		}
		log.Info("starting a container again with a new shim", "err", err)
		if daemon.Leftover(err) {
			if err := s.removeLeftover(ctx, p.ID); err != nil {
				return fmt.Errorf("failed to create task for container: %w", err)
			}
		}
		_, _ = s.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: p.ID})
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(20<<try) * time.Millisecond):
		}
	}
}

func rootfs(mounts []mount.Mount) []*types.Mount {
	var out []*types.Mount
	for _, m := range mounts {
		out = append(out, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return out
}

// Begin starts the process of a task, or finds that it has been started: the
// previous caller may have ended before it got the answer.
func (s *Service) Begin(ctx context.Context, id string) error {
	_, err := s.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: id})
	if err == nil {
		return nil
	}
	err = errdefs.FromGRPC(err)
	got, lookErr := s.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if lookErr == nil && got.Process.Status != tasktypes.Status_CREATED && got.Process.Status != tasktypes.Status_UNKNOWN {
		return nil
	}
	return err
}

// Delete kills and deletes the container's task, if there is one.
func (s *Service) Delete(ctx context.Context, id string) error {
	for try := 0; ; try++ {
		_, err := s.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		if err = errdefs.FromGRPC(err); err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if try == 100 || ctx.Err() != nil {
			return fmt.Errorf("delete task: %w", err)
		}
		// Most likely it runs; the shim's error for that has no code of its own.
		if err := s.Kill(ctx, id, unix.SIGKILL); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill signals the container's first process, with SIGKILL all of them. It is
// not an error if the process has ended; then a caller waiting for the exit
// must not wait for an event that has been missed.
func (s *Service) Kill(ctx context.Context, id string, sig unix.Signal) error {
	_, err := s.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig), All: sig == unix.SIGKILL})
	err = errdefs.FromGRPC(err)
	if errdefs.IsNotFound(err) {
		return s.gone(ctx)
	}
	if err != nil {
		return fmt.Errorf("send %s: %w", unix.SignalName(sig), err)
	}
	return nil
}

// DeleteContainer deletes task, snapshot and container, as far as they exist.
func (s *Service) DeleteContainer(ctx context.Context, id string) error {
	if err := s.Delete(ctx, id); err != nil {
		return err
	}
	if err := s.client.SnapshotService(images.Snapshotter).Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete its file system: %w", err)
	}
	if err := s.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete it: %w", err)
	}
	return nil
}
