package runtime

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/mount"
	"github.com/containerd/containerd/plugin"
	"github.com/containerd/typeurl/v2"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"

	"headway.dev/nodes/image"
)

// Our labels on containerd's containers; what the caller gave follows
// userLabel.
const (
	labelUID       = "headway.dev/pod-uid"
	labelNamespace = "headway.dev/pod-namespace"
	labelPod       = "headway.dev/pod-name"
	labelName      = "headway.dev/container-name"
	labelAttempt   = "headway.dev/attempt"
	labelImage     = "headway.dev/image"
	labelImageID   = "headway.dev/image-id"
	labelSignal    = "headway.dev/stop-signal"
	labelMode      = "headway.dev/mode"      // tty, stdin and once, as far as they apply
	labelQuota     = "headway.dev/cpu-quota" // microseconds in each period: 50000/100000
	userLabel      = "headway.dev/label."
)

// container is a container as known in memory. Runtime.mu guards its fields.
type container struct {
	info      Container
	cgroup    string // relative to our root
	resources Resources
	signal    string
	tty       bool
	stdin     bool
	stdinOnce bool

	streams atomic.Pointer[containerIO]
	done    chan struct{} // closed once the exit is recorded
	exiting bool          // the exit is being recorded
	oom     bool          // an OOM event was seen
	op      sync.Mutex    // start and remove exclude each other
}

// snapshot copies what callers may keep.
func (c *container) snapshot() Container {
	info := c.info
	info.Labels = maps.Clone(info.Labels)
	return info
}

// containerID depends on pod, name and attempt, so that creating again after
// an answer that got lost finds the same container.
func containerID(pod PodRef, name string, attempt int) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{pod.UID, name, strconv.Itoa(attempt)}, "/")))
	return hex.EncodeToString(sum[:])
}

func (r *Runtime) get(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %q: %w", id, ErrNotFound)
	}
	return c, nil
}

func (r *Runtime) stateOf(c *container) Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.snapshot()
}

// CreateContainer implements Interface.
func (r *Runtime) CreateContainer(ctx context.Context, pod SandboxConfig, cfg ContainerConfig) (Container, error) {
	ctx = r.namespaced(ctx)
	if cfg.Name == "" || strings.ContainsAny(cfg.Name, "/\x00") || cfg.Attempt < 0 {
		return Container{}, fmt.Errorf("invalid container name %q or attempt %d", cfg.Name, cfg.Attempt)
	}
	defer r.podLock.lock(pod.UID + "/" + cfg.Name)()
	id := containerID(pod.PodRef, cfg.Name, cfg.Attempt)
	r.mu.Lock()
	old, box := r.containers[id], r.sandboxes[pod.UID]
	r.mu.Unlock()
	if old != nil {
		return r.stateOf(old), nil
	}
	if box == nil || !box.ready {
		return Container{}, fmt.Errorf("pod %s/%s has no sandbox: %w", pod.Namespace, pod.Name, ErrNotFound)
	}
	release, err := r.slot(ctx)
	if err != nil {
		return Container{}, err
	}
	defer release()
	c, err := r.create(ctx, box, id, cfg)
	if err != nil {
		return Container{}, fmt.Errorf("create container %s: %w", cfg.Name, err)
	}
	r.mu.Lock()
	r.containers[id] = c
	r.mu.Unlock()
	return r.stateOf(c), nil
}

func (r *Runtime) create(ctx context.Context, box *sandbox, id string, cfg ContainerConfig) (*container, error) {
	pod := box.rec.Config
	img, cached, err := r.find(ctx, cfg.Image)
	if err != nil {
		return nil, err
	}
	if err := checkNonRoot(pod.PodRef, cfg.Name, cfg.Security, cached.config.User); err != nil {
		return nil, err
	}
	user, err := r.resolveUser(ctx, cached, userString(cfg.Security, cached.config.User))
	if err != nil {
		return nil, err
	}
	caps, err := currentCaps()
	if err != nil {
		return nil, err
	}
	hostname, err := os.ReadFile(filepath.Join(r.stateDir(pod.UID), "hostname"))
	if err != nil {
		return nil, fmt.Errorf("read host name of the sandbox: %w", err)
	}
	spec, err := buildSpec(ctx, specInput{
		id: id, pod: pod, cfg: cfg, image: cached.config, user: user,
		stateDir: r.stateDir(pod.UID), runDir: r.runDir(pod.UID), hostname: strings.TrimSpace(string(hostname)),
		cgroup: r.cgroups.specPath(box.rec.Cgroup, id), unified: r.cgroups.unified,
		oomScoreAdj: r.oomAdj.adjust(r, cfg.OOMScoreAdj, caps), availableCaps: caps,
	})
	if err != nil {
		return nil, err
	}
	encoded, err := typeurl.MarshalAny(spec)
	if err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	// The default directory is shared by all containerds of the machine, and
	// IDs repeat among agents that run the same pod.
	runc, err := typeurl.MarshalAny(&options.Options{Root: filepath.Join(r.cfg.RunDir, "runc")})
	if err != nil {
		return nil, fmt.Errorf("encode runtime options: %w", err)
	}
	stop := cmp.Or(cfg.StopSignal, cached.config.StopSignal)
	if _, err := stopSignal(stop); err != nil {
		return nil, &ConfigError{err}
	}
	record := containers.Container{
		ID: id, Image: img.Name, Spec: encoded,
		Labels:      containerLabels(pod.PodRef, cfg, img.Name, img.Target.Digest.String(), stop),
		Snapshotter: image.Snapshotter, SnapshotKey: id,
		Runtime: containers.RuntimeInfo{Name: plugin.RuntimeRuncV2, Options: runc},
	}
	// The container first: its reference keeps the snapshot from containerd's
	// garbage collector without a lease.
	stored, err := r.client.ContainerService().Create(ctx, record)
	if errdefs.IsAlreadyExists(err) {
		// Left over from a create that ended half way.
		if err = r.deleteContainer(ctx, id); err == nil {
			stored, err = r.client.ContainerService().Create(ctx, record)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store it: %w", err)
	}
	if _, err := r.client.SnapshotService(image.Snapshotter).Prepare(ctx, id, cached.chainID); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare its file system: %w", err), r.deleteContainer(context.WithoutCancel(ctx), id))
	}
	c, err := r.fromStored(stored)
	if err != nil {
		return nil, err
	}
	c.resources = cfg.Resources
	return c, nil
}

func containerLabels(pod PodRef, cfg ContainerConfig, imageName, imageID, stop string) map[string]string {
	var mode []string
	for name, on := range map[string]bool{"tty": cfg.TTY, "stdin": cfg.Stdin, "once": cfg.StdinOnce} {
		if on {
			mode = append(mode, name)
		}
	}
	labels := map[string]string{
		labelUID: pod.UID, labelNamespace: pod.Namespace, labelPod: pod.Name,
		labelName: cfg.Name, labelAttempt: strconv.Itoa(cfg.Attempt),
		labelImage: cmp.Or(cfg.Image, imageName), labelImageID: imageID,
		labelSignal: stop, labelMode: strings.Join(mode, ","),
	}
	if q := cfg.Resources; q.CPUQuota > 0 {
		labels[labelQuota] = fmt.Sprintf("%d/%d", q.CPUQuota, q.CPUPeriod)
	}
	for k, v := range cfg.Labels {
		labels[userLabel+k] = v
	}
	return labels
}

// fromStored makes a container in state Created of what containerd keeps.
func (r *Runtime) fromStored(stored containers.Container) (*container, error) {
	l := stored.Labels
	attempt, err := strconv.Atoi(l[labelAttempt])
	pod := PodRef{Namespace: l[labelNamespace], Name: l[labelPod], UID: l[labelUID]}
	if err = errors.Join(err, checkPodRef(pod)); err != nil || l[labelName] == "" {
		return nil, fmt.Errorf("container %s has not the labels it should have: %w", stored.ID, err)
	}
	labels := map[string]string{}
	for k, v := range l {
		if name, ok := strings.CutPrefix(k, userLabel); ok {
			labels[name] = v
		}
	}
	c := &container{
		info: Container{
			ID: stored.ID, Pod: pod, Name: l[labelName], Attempt: attempt,
			Image: l[labelImage], ImageID: l[labelImageID], State: Created, CreatedAt: stored.CreatedAt,
			LogPath: r.LogPath(pod, l[labelName], attempt), Labels: labels,
		},
		signal: l[labelSignal],
		done:   make(chan struct{}),
	}
	if q := l[labelQuota]; q != "" {
		if _, err := fmt.Sscanf(q, "%d/%d", &c.resources.CPUQuota, &c.resources.CPUPeriod); err != nil {
			return nil, fmt.Errorf("container %s has the CPU quota %q: %w", stored.ID, q, err)
		}
	}
	for mode := range strings.SplitSeq(l[labelMode], ",") {
		c.tty, c.stdin, c.stdinOnce = c.tty || mode == "tty", c.stdin || mode == "stdin", c.stdinOnce || mode == "once"
	}
	r.mu.Lock()
	if box := r.sandboxes[pod.UID]; box != nil {
		c.cgroup = filepath.Join(box.rec.Cgroup, stored.ID)
	}
	r.mu.Unlock()
	return c, nil
}

// StartContainer implements Interface. A container that cannot be started, for
// example because its command does not exist, becomes Exited with Reason
// StartError, as with other container runtimes.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	ctx = r.namespaced(ctx)
	c, err := r.get(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if r.stateOf(c).State != Created {
		return nil
	}
	release, err := r.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	started, err := r.start(ctx, c)
	if err != nil {
		err = fmt.Errorf("failed to start container %q: %w", c.info.Name, err)
		if ctx.Err() != nil {
			// Not the container's fault: it stays Created and may be tried again.
			return errors.Join(err, r.abandonTask(context.WithoutCancel(ctx), c))
		}
		err = errors.Join(err, r.abandonTask(ctx, c))
		rec := exitRecord{StartedAt: started, FinishedAt: time.Now().UTC(), ExitCode: 128, Reason: "StartError", Message: err.Error()}
		return errors.Join(err, r.recordExit(c, rec))
	}
	r.mu.Lock()
	c.info.StartedAt = started
	if c.info.State == Created {
		c.info.State = Running
	}
	r.mu.Unlock()
	r.emit(c.info.Pod.UID)
	return nil
}

// start makes the task and starts it, then sets the CPU quotas. It returns
// when that was.
func (r *Runtime) start(ctx context.Context, c *container) (time.Time, error) {
	now := time.Now().UTC()
	if err := r.openIO(c); err != nil {
		return now, err
	}
	if err := r.createTask(ctx, c); err != nil {
		return now, err
	}
	now = time.Now().UTC()
	// From here on the agent may end at any time: the record tells a started
	// container from one only created.
	if err := r.saveRecord(c, exitRecord{StartedAt: now}); err != nil {
		return now, err
	}
	if _, err := r.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: c.info.ID}); err != nil {
		return now, errdefs.FromGRPC(err)
	}
	return now, r.setQuotas(c)
}

// setQuotas bounds the CPU time of a container that has been started, and of
// its pod.
func (r *Runtime) setQuotas(c *container) error {
	r.mu.Lock()
	box := r.sandboxes[c.info.Pod.UID]
	r.mu.Unlock()
	err := r.cgroups.setQuota(c.cgroup, c.resources)
	if box != nil {
		err = errors.Join(err, r.cgroups.setQuota(box.rec.Cgroup, box.rec.Config.Resources))
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // It has exited and is gone already.
	}
	return err
}

// createTask asks containerd for the container's process, which waits for the
// start. The pod's shim may be about to end because its last container has
// just gone; then the first try fails, and the second gets a new one.
func (r *Runtime) createTask(ctx context.Context, c *container) error {
	mounts, err := r.client.SnapshotService(image.Snapshotter).Mounts(ctx, c.info.ID)
	if err != nil {
		return fmt.Errorf("mount its file system: %w", err)
	}
	paths := r.ioPaths(c)
	req := &tasks.CreateTaskRequest{
		ContainerID: c.info.ID, Terminal: c.tty, Rootfs: rootfs(mounts),
		Stdin: paths.stdin, Stdout: paths.log.stdout, Stderr: paths.log.stderr,
	}
	for try := 0; ; try++ {
		if _, err = r.client.TaskService().Create(ctx, req); err == nil {
			return nil
		}
		err = errdefs.FromGRPC(err)
		if try == 3 || ctx.Err() != nil || !shimGone(err) {
			return fmt.Errorf("failed to create task for container: %w", err)
		}
		r.log.Info("starting a container again with a new shim", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
		_, _ = r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: c.info.ID})
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(20<<try) * time.Millisecond):
		}
	}
}

// shimGone recognises the errors of talking to a shim that has just ended.
func shimGone(err error) bool {
	text := err.Error()
	return strings.Contains(text, "ttrpc: closed") || strings.Contains(text, "ttrpc: server closed") ||
		strings.Contains(text, "connect: connection refused") || strings.Contains(text, "shim.sock") ||
		strings.Contains(text, "connect: no such file or directory")
}

func rootfs(mounts []mount.Mount) []*types.Mount {
	var out []*types.Mount
	for _, m := range mounts {
		out = append(out, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return out
}

// abandonTask removes what start got done before it failed.
func (r *Runtime) abandonTask(ctx context.Context, c *container) error {
	err := r.deleteTask(ctx, c.info.ID)
	c.closeIO()
	c.streams.Store(nil) // Another start connects it anew.
	return errors.Join(err, r.removeRecord(c))
}

// deleteTask kills and deletes the container's task, if there is one.
func (r *Runtime) deleteTask(ctx context.Context, id string) error {
	for {
		_, err := r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		err = errdefs.FromGRPC(err)
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return nil
		case !errdefs.IsFailedPrecondition(err):
			return fmt.Errorf("delete task: %w", err)
		}
		if err := r.kill(ctx, id, unix.SIGKILL); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
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
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	c.op.Lock()
	state := r.stateOf(c).State
	c.op.Unlock()
	if state != Running {
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
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	// The log first: once the container is gone nobody asks for this again.
	if r.stateOf(c).State != Running {
		if err := removeLog(c.info.LogPath); err != nil {
			return fmt.Errorf("remove log of container %s: %w", c.info.Name, err)
		}
	}
	return r.removeContainer(ctx, id)
}

// removeContainer removes a container and leaves its log.
func (r *Runtime) removeContainer(ctx context.Context, id string) error {
	ctx = r.namespaced(ctx)
	c, err := r.get(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	c.op.Lock()
	defer c.op.Unlock()
	if r.stateOf(c).State == Running {
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
	if err := r.client.SnapshotService(image.Snapshotter).Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete its file system: %w", err)
	}
	if err := r.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete it: %w", err)
	}
	return nil
}

// exitRecord is what must be remembered of a container beyond its task.
type exitRecord struct {
	StartedAt  time.Time
	FinishedAt time.Time `json:",omitzero"`
	ExitCode   int32     `json:",omitempty"`
	OOMKilled  bool      `json:",omitempty"`
	Reason     string    `json:",omitempty"`
	Message    string    `json:",omitempty"`
}

func (r *Runtime) recordFile(c *container) string {
	return filepath.Join(r.stateDir(c.info.Pod.UID), "containers", c.info.ID+".json")
}

func (r *Runtime) saveRecord(c *container, rec exitRecord) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode container record: %w", err)
	}
	if err := writeFile(r.recordFile(c), data); err != nil {
		return fmt.Errorf("write container record: %w", err)
	}
	return nil
}

func (r *Runtime) loadRecord(c *container) (exitRecord, bool) {
	var rec exitRecord
	data, err := os.ReadFile(r.recordFile(c))
	if err != nil || json.Unmarshal(data, &rec) != nil {
		return exitRecord{}, false
	}
	return rec, true
}

func (r *Runtime) removeRecord(c *container) error {
	return ignoreNotExist(os.Remove(r.recordFile(c)))
}
