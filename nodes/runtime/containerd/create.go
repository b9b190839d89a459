package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd"
	store "github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/typeurl/v2"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/capture"
	"headway.dev/nodes/runtime/cgroup"
	"headway.dev/nodes/runtime/images"
	"headway.dev/nodes/runtime/record"
	"headway.dev/nodes/runtime/spec"
	"headway.dev/nodes/runtime/tasks"
	"headway.dev/nodes/slot"
)

// containerSet makes, starts, stops and removes the containers, and learns of their
// exits.
type containerSet struct {
	*state

	cfg     Config
	log     *slog.Logger
	client  *containerd.Client
	cgroups *cgroup.Tree
	images  *images.Store
	tasks   *tasks.Service
	boxes   *sandboxSet
	logs    logDir
	starts  *slot.Slots
	podLock *keyedLock
	oomAdj  spec.OOMAdjuster
	tees    *capture.Tees
	work    *work
	hints   hints
}

// logOf logs about a container.
func (r *containerSet) logOf(c *container) *slog.Logger {
	return r.log.With("container", c.info.Name, "pod", c.info.Pod.UID)
}

// CreateContainer implements Interface.
func (r *containerSet) CreateContainer(ctx context.Context, pod runtime.SandboxConfig, cfg runtime.ContainerConfig) (runtime.Container, error) {
	ctx = r.cfg.namespaced(ctx)
	if cfg.Name == "" || strings.ContainsAny(cfg.Name, "/\x00") || cfg.Attempt < 0 {
		return runtime.Container{}, fmt.Errorf("invalid container name %q or attempt %d", cfg.Name, cfg.Attempt)
	}
	defer r.podLock.lock(pod.UID + "/" + cfg.Name)()
	id := record.ID(pod.PodRef, cfg.Name, cfg.Attempt)
	r.mu.Lock()
	old, box := r.containers[id], r.sandboxes[pod.UID]
	r.mu.Unlock()
	if old != nil {
		return r.stateOf(old), nil
	}
	if box == nil || !box.ready {
		return runtime.Container{}, fmt.Errorf("pod %s/%s has no sandbox: %w", pod.Namespace, pod.Name, runtime.ErrNotFound)
	}
	release, err := r.starts.Take(ctx)
	if err != nil {
		return runtime.Container{}, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return runtime.Container{}, err
	}
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	c, err := r.create(ctx, box, id, cfg)
	if err != nil {
		return runtime.Container{}, fmt.Errorf("create container %s: %w", cfg.Name, err)
	}
	r.mu.Lock()
	r.containers[id] = c
	r.mu.Unlock()
	return r.stateOf(c), nil
}

func (r *containerSet) create(ctx context.Context, box *sandbox, id string, cfg runtime.ContainerConfig) (*container, error) {
	pod := box.rec.Config
	img, cached, err := r.images.Find(ctx, cfg.Image)
	if err != nil {
		return nil, err
	}
	if err := images.CheckNonRoot(pod.PodRef, cfg.Name, cfg.Security, cached.Config.User); err != nil {
		return nil, err
	}
	user, err := r.images.User(ctx, cached, images.UserString(cfg.Security, cached.Config.User))
	if err != nil {
		return nil, err
	}
	caps, err := spec.CurrentCaps()
	if err != nil {
		return nil, err
	}
	hostname, err := sandboxHostname(pod)
	if err != nil {
		return nil, err
	}
	processes, err := r.pidNamespace(ctx, pod, cfg.Target)
	if err != nil {
		return nil, err
	}
	spec, err := spec.Build(ctx, spec.Input{
		ID: id, Pod: pod, Config: cfg, Image: cached.Config, User: user,
		StateDir: r.boxes.stateDir(pod.UID), RunDir: r.boxes.runDir(pod.UID), Hostname: hostname,
		Cgroup: r.cgroups.SpecPath(box.rec.Cgroup, id), Unified: r.cgroups.Unified,
		OOMScoreAdj: r.oomAdj.Adjust(r.log, cfg.OOMScoreAdj, caps), AvailableCaps: caps,
		PIDNamespace: processes,
	})
	if err != nil {
		return nil, err
	}
	encoded, err := typeurl.MarshalAny(spec)
	if err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	runs, err := r.cfg.Handlers.Find(pod.Handler, r.cfg.runcRoot())
	if err != nil {
		return nil, err
	}
	stop := cmp.Or(cfg.StopSignal, cached.Config.StopSignal)
	if _, err := stopSignal(stop); err != nil {
		return nil, &runtime.ConfigError{Err: err}
	}
	stored := store.Container{
		ID: id, Image: img.Name, Spec: encoded,
		Labels:      record.Labels(pod.PodRef, cfg, img.Name, img.Target.Digest.String(), stop, user),
		Snapshotter: images.Snapshotter, SnapshotKey: id,
		Runtime: runs,
	}
	// The container first: its reference keeps the snapshot from containerd's
	// garbage collector without a lease.
	made, err := r.client.ContainerService().Create(ctx, stored)
	if errdefs.IsAlreadyExists(err) {
		// Left over from a create that ended half way.
		if err = r.tasks.DeleteContainer(ctx, id); err == nil {
			made, err = r.client.ContainerService().Create(ctx, stored)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store it: %w", err)
	}
	if _, err := r.client.SnapshotService(images.Snapshotter).Prepare(ctx, id, cached.ChainID); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare its file system: %w", err), r.tasks.DeleteContainer(context.WithoutCancel(ctx), id))
	}
	c, err := r.fromStored(made)
	if err != nil {
		return nil, err
	}
	c.resources = cfg.Resources
	return c, nil
}

// pidNamespace is the path of the namespace of a container's processes; empty
// without a target.
func (r *containerSet) pidNamespace(ctx context.Context, pod runtime.SandboxConfig, target string) (string, error) {
	if target == "" || pod.HostPID {
		return "", nil
	}
	var id string
	r.mu.Lock()
	for _, c := range r.containers {
		if c.info.Pod.UID == pod.UID && c.info.Name == target && c.info.State == runtime.Running {
			id = c.info.ID
		}
	}
	r.mu.Unlock()
	if id == "" {
		return "", fmt.Errorf("unable to find target container %s: it does not run", target)
	}
	stored, err := r.client.LoadContainer(ctx, id)
	if err != nil {
		return "", fmt.Errorf("look for target container %s: %w", target, err)
	}
	task, err := stored.Task(ctx, nil)
	if err != nil {
		return "", fmt.Errorf("look for target container %s: %w", target, err)
	}
	return fmt.Sprintf("/proc/%d/ns/pid", task.Pid()), nil
}

// fromStored makes a container in state Created of what containerd keeps.
func (r *containerSet) fromStored(stored store.Container) (*container, error) {
	kept, err := record.Parse(stored)
	if err != nil {
		return nil, err
	}
	c := &container{
		info: kept.Info, resources: kept.Quota, signal: kept.Signal,
		tty: kept.TTY, stdin: kept.Stdin, stdinOnce: kept.StdinOnce, done: make(chan struct{}),
	}
	pod := c.info.Pod
	c.info.LogPath = r.logs.LogPath(pod, c.info.Name, c.info.Attempt)
	c.paths = pathsOf(r.boxes.runDir(pod.UID), c)
	c.record = filepath.Join(r.boxes.stateDir(pod.UID), "containers", c.info.ID+".json")
	if box := r.sandbox(pod.UID); box != nil {
		c.cgroup = filepath.Join(box.rec.Cgroup, stored.ID)
	}
	return c, nil
}
