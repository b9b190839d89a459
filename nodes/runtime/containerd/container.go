package containerd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	"github.com/distribution/reference"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/images"
	"headway.dev/nodes/runtime/spec"
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
	labelUser      = "headway.dev/user"      // uid:gid:group,group
	userLabel      = "headway.dev/label."
)

// container is a container as known in memory. Runtime.mu guards its fields.
type container struct {
	info      runtime.Container
	cgroup    string // relative to our root
	resources runtime.Resources
	signal    string
	tty       bool
	stdin     bool
	stdinOnce bool

	streams  atomic.Pointer[containerIO]
	done     chan struct{} // closed once the exit is recorded
	exiting  bool          // the exit is being recorded
	cut      bool          // a start was interrupted; op guards it
	oom      bool          // an OOM event was seen
	attached atomic.Bool   // somebody was attached
	op       sync.Mutex    // start and remove exclude each other
}

// snapshot copies what callers may keep.
func (c *container) snapshot() runtime.Container {
	info := c.info
	info.Labels = maps.Clone(info.Labels)
	return info
}

// containerID depends on pod, name and attempt, so that creating again after
// an answer that got lost finds the same container.
func containerID(pod runtime.PodRef, name string, attempt int) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{pod.UID, name, strconv.Itoa(attempt)}, "/")))
	return hex.EncodeToString(sum[:])
}

func (r *Runtime) get(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %q: %w", id, runtime.ErrNotFound)
	}
	return c, nil
}

func (r *Runtime) stateOf(c *container) runtime.Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.snapshot()
}

// CreateContainer implements Interface.
func (r *Runtime) CreateContainer(ctx context.Context, pod runtime.SandboxConfig, cfg runtime.ContainerConfig) (runtime.Container, error) {
	ctx = r.namespaced(ctx)
	if cfg.Name == "" || strings.ContainsAny(cfg.Name, "/\x00") || cfg.Attempt < 0 {
		return runtime.Container{}, fmt.Errorf("invalid container name %q or attempt %d", cfg.Name, cfg.Attempt)
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

func (r *Runtime) create(ctx context.Context, box *sandbox, id string, cfg runtime.ContainerConfig) (*container, error) {
	pod := box.rec.Config
	img, cached, err := r.Find(ctx, cfg.Image)
	if err != nil {
		return nil, err
	}
	if err := images.CheckNonRoot(pod.PodRef, cfg.Name, cfg.Security, cached.Config.User); err != nil {
		return nil, err
	}
	user, err := r.User(ctx, cached, images.UserString(cfg.Security, cached.Config.User))
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
	spec, err := spec.Build(ctx, spec.Input{
		ID: id, Pod: pod, Config: cfg, Image: cached.Config, User: user,
		StateDir: r.stateDir(pod.UID), RunDir: r.runDir(pod.UID), Hostname: hostname,
		Cgroup: r.cgroups.SpecPath(box.rec.Cgroup, id), Unified: r.cgroups.Unified,
		OOMScoreAdj: r.oomAdj.Adjust(r.log, cfg.OOMScoreAdj, caps), AvailableCaps: caps,
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
	stop := cmp.Or(cfg.StopSignal, cached.Config.StopSignal)
	if _, err := stopSignal(stop); err != nil {
		return nil, &runtime.ConfigError{Err: err}
	}
	record := containers.Container{
		ID: id, Image: img.Name, Spec: encoded,
		Labels:      containerLabels(pod.PodRef, cfg, img.Name, img.Target.Digest.String(), stop, user),
		Snapshotter: images.Snapshotter, SnapshotKey: id,
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
	if _, err := r.client.SnapshotService(images.Snapshotter).Prepare(ctx, id, cached.ChainID); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare its file system: %w", err), r.deleteContainer(context.WithoutCancel(ctx), id))
	}
	c, err := r.fromStored(stored)
	if err != nil {
		return nil, err
	}
	c.resources = cfg.Resources
	return c, nil
}

func containerLabels(pod runtime.PodRef, cfg runtime.ContainerConfig, imageName, imageID, stop string, user images.IDs) map[string]string {
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
		labelUser: userLabelValue(user.UID, user.GID, spec.AdditionalGroups(user, cfg.Security)),
	}
	if q := cfg.Resources; q.CPUQuota > 0 {
		labels[labelQuota] = fmt.Sprintf("%d/%d", q.CPUQuota, q.CPUPeriod)
	}
	for k, v := range cfg.Labels {
		labels[userLabel+k] = v
	}
	return labels
}

func userLabelValue(uid, gid uint32, groups []uint32) string {
	list := make([]string, len(groups))
	for i, g := range groups {
		list[i] = strconv.FormatUint(uint64(g), 10)
	}
	return fmt.Sprintf("%d:%d:%s", uid, gid, strings.Join(list, ","))
}

// parseUserLabel is nil for a container made before the label was kept.
func parseUserLabel(value string) *runtime.User {
	f := strings.Split(value, ":")
	if len(f) != 3 {
		return nil
	}
	number := func(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }
	u := &runtime.User{UID: number(f[0]), GID: number(f[1])}
	for g := range strings.SplitSeq(f[2], ",") {
		if g != "" {
			u.Groups = append(u.Groups, number(g))
		}
	}
	return u
}

// fromStored makes a container in state Created of what containerd keeps.
func (r *Runtime) fromStored(stored containers.Container) (*container, error) {
	l := stored.Labels
	attempt, err := strconv.Atoi(l[labelAttempt])
	pod := runtime.PodRef{Namespace: l[labelNamespace], Name: l[labelPod], UID: l[labelUID]}
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
		info: runtime.Container{
			ID: stored.ID, Pod: pod, Name: l[labelName], Attempt: attempt,
			Image: l[labelImage], ImageID: repoDigest(stored.Image, l[labelImageID]), State: runtime.Created, CreatedAt: stored.CreatedAt,
			LogPath: r.LogPath(pod, l[labelName], attempt), Labels: labels, User: parseUserLabel(l[labelUser]),
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

// repoDigest names an image by its repository and digest, as a registry would.
func repoDigest(name, digest string) string {
	ref, err := reference.ParseDockerRef(name)
	if err != nil || digest == "" {
		return digest
	}
	return ref.Name() + "@" + digest
}

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
func (r *Runtime) abandon(c *container, done <-chan struct{}) {
	r.background(func(ctx context.Context) {
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
// StartError, as with other container runtimes. After an InterruptedError it
// is Created still.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	ctx = r.namespaced(ctx)
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
		err = errors.Join(err, r.deleteTask(context.WithoutCancel(ctx), c.info.ID))
		c.closeIO()
		rec := exitRecord{StartedAt: started, FinishedAt: time.Now().UTC(), ExitCode: 128, Reason: "StartError", Message: err.Error()}
		return errors.Join(err, r.recordExit(c, rec))
	}
	r.mu.Lock()
	c.info.StartedAt = started
	if c.info.State == runtime.Created {
		c.info.State = runtime.Running
	}
	r.mu.Unlock()
	r.emit(c.info.Pod.UID)
	if c.cut { // its end may have come before it was known as running
		c.cut = false
		r.background(func(ctx context.Context) {
			if err := r.resync(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("cannot compare the containers with containerd's", "err", err)
			}
		})
	}
	return nil
}

// start makes the task and starts it, then sets the CPU quotas. It returns
// when that was.
func (r *Runtime) start(ctx context.Context, c *container) (time.Time, error) {
	now := time.Now().UTC()
	if err := r.openIO(c); err != nil {
		return now, err
	}
	if c.cut {
		if started, done, err := r.takeUp(ctx, c); err != nil || done {
			return started, errors.Join(err, r.setQuotas(c))
		}
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
	err := r.cgroups.SetQuota(c.cgroup, c.resources)
	if box != nil {
		err = errors.Join(err, r.cgroups.SetQuota(box.rec.Cgroup, box.rec.Config.Resources))
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
	mounts, err := r.client.SnapshotService(images.Snapshotter).Mounts(ctx, c.info.ID)
	if err != nil {
		return fmt.Errorf("mount its file system: %w", err)
	}
	paths := r.ioPaths(c)
	req := &tasks.CreateTaskRequest{
		ContainerID: c.info.ID, Terminal: c.tty, Rootfs: rootfs(mounts),
		Stdin: paths.stdin, Stdout: paths.log.Stdout, Stderr: paths.log.Stderr,
	}
	for try := 0; ; try++ {
		if _, err = r.client.TaskService().Create(ctx, req); err == nil {
			return nil
		}
		err = errdefs.FromGRPC(err)
		if try == 3 || ctx.Err() != nil || !daemon.ShimGone(err) && !daemon.Leftover(err) {
			return fmt.Errorf("failed to create task for container: %w", err)
		}
		r.log.Info("starting a container again with a new shim", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
		if daemon.Leftover(err) {
			if err := r.removeLeftover(ctx, c.info.ID); err != nil {
				return fmt.Errorf("failed to create task for container: %w", err)
			}
		}
		_, _ = r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: c.info.ID})
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
