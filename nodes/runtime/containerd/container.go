package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd"
	store "github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/errdefs"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/capture"
	"headway.dev/nodes/runtime/fsutil"
	"headway.dev/nodes/runtime/images"
	"headway.dev/nodes/runtime/record"
	"headway.dev/nodes/runtime/spec"
)

// container is a container as known in memory. state.mu guards its fields.
type container struct {
	info      runtime.Container
	cgroup    string // relative to our root
	resources runtime.Resources
	signal    string
	tty       bool
	stdin     bool
	stdinOnce bool
	paths     ioPaths
	record    string // the file of its start and exit

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

// noteAttached keeps for the next process that the container's one client has
// come: a shell that has run for days must not repeat them after a restart.
func (c *container) noteAttached() error {
	return os.WriteFile(c.paths.attached, nil, 0o600)
}

// wasAttached reports what noteAttached has noted.
func (c *container) wasAttached() bool {
	_, err := os.Stat(c.paths.attached)
	return err == nil
}

func (c *container) removeRecord() error { return fsutil.IgnoreNotExist(os.Remove(c.record)) }

// containerIO is what a container's standard streams are connected to.
type containerIO struct {
	logs *capture.Copier
	once sync.Once
}

type ioPaths struct {
	stdin    string
	attached string // is there once somebody was attached
	log      capture.Paths
}

// pathsOf are the files of a container's streams, below the pod's run directory.
func pathsOf(runDir string, c *container) ioPaths {
	base := filepath.Join(runDir, "io", c.info.Name+"-"+strconv.Itoa(c.info.Attempt))
	p := ioPaths{attached: base + ".attached", log: capture.Paths{Stdout: base + ".out", Position: base + ".pos", File: c.info.LogPath}}
	if !c.tty {
		p.log.Stderr = base + ".err"
	}
	if c.stdin {
		p.stdin = base + ".in"
	}
	return p
}

// openIO connects the container's streams, unless they are.
func (r *containerSet) openIO(c *container) error {
	if c.streams.Load() != nil {
		return nil
	}
	paths := c.paths
	if err := os.MkdirAll(filepath.Dir(paths.log.Stdout), 0o711); err != nil {
		return fmt.Errorf("make FIFO directory: %w", err)
	}
	// The shim opens both ends of this one too, so that the container's input
	// goes on when who was attached leaves, or this process ends.
	if paths.stdin != "" {
		if err := capture.MakeFIFO(paths.stdin); err != nil {
			return err
		}
	}
	logs, err := capture.Start(paths.log, capture.Rotation{MaxSize: r.cfg.LogMaxSize, MaxFiles: r.cfg.LogMaxFiles}, r.tees, r.logOf(c))
	if err != nil {
		return err
	}
	c.streams.Store(&containerIO{logs: logs})
	return nil
}

// closeIO stops copying; what is in the FIFOs stays for the next process.
func (c *container) closeIO() { c.endIO(false) }

// finishIO copies the rest and stops.
func (c *container) finishIO() { c.endIO(true) }

func (c *container) endIO(drain bool) {
	if streams := c.streams.Load(); streams != nil {
		streams.once.Do(func() { streams.logs.Stop(drain) })
	}
}

func (c *container) removeIO() error {
	p := c.paths
	var errs []error
	for _, path := range []string{p.stdin, p.attached, p.log.Stdout, p.log.Stderr, p.log.Position} {
		if path != "" {
			errs = append(errs, fsutil.IgnoreNotExist(os.Remove(path)))
		}
	}
	return errors.Join(errs...)
}

// Stats implements Interface.
func (r *containerSet) Stats(_ context.Context, podUID string) ([]runtime.Stats, error) {
	r.mu.Lock()
	var running []*container
	known := r.sandboxes[podUID] != nil
	for _, c := range r.containers {
		if c.info.Pod.UID != podUID {
			continue
		}
		known = true
		if c.info.State == runtime.Running {
			running = append(running, c)
		}
	}
	r.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("pod %s: %w", podUID, runtime.ErrNotFound)
	}
	var out []runtime.Stats
	for _, c := range running {
		s, err := r.cgroups.Usage(c.cgroup)
		if err != nil {
			if r.stateOf(c).State != runtime.Running {
				continue // It has just ended.
			}
			return nil, fmt.Errorf("read usage of container %s: %w", c.info.Name, err)
		}
		s.ContainerID, s.Name = c.info.ID, c.info.Name
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b runtime.Stats) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// StorageUsage implements Interface.
func (r *containerSet) StorageUsage(ctx context.Context, podUID string) (bytes map[string]int64, inodes int64, err error) {
	ctx = r.cfg.namespaced(ctx)
	bytes = map[string]int64{}
	for _, id := range r.containersOf(podUID) {
		c, err := r.get(id)
		if err != nil {
			continue // It has just been removed.
		}
		usage, err := r.client.SnapshotService(images.Snapshotter).Usage(ctx, id)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, 0, fmt.Errorf("size of the file system of container %s: %w", c.info.Name, err)
		}
		bytes[c.info.Name] += usage.Size
		inodes += usage.Inodes
		// The log with what has been rotated of it, this container's and no other's.
		logs, err := filepath.Glob(c.info.LogPath + "*")
		if err != nil {
			return nil, 0, fmt.Errorf("list the logs of container %s: %w", c.info.Name, err)
		}
		for _, log := range logs {
			if info, err := os.Lstat(log); err == nil {
				bytes[c.info.Name] += info.Size()
				inodes++
			}
		}
	}
	return bytes, inodes, nil
}

// Resize implements Interface.
func (r *containerSet) Resize(ctx context.Context, podUID string, pod runtime.Resources, containers []runtime.Resize) error {
	ctx, cancel := context.WithTimeout(r.cfg.namespaced(ctx), startTimeout)
	defer cancel()
	defer r.podLock.lock(podUID)()
	box := r.sandbox(podUID)
	if box == nil || !box.ready {
		return fmt.Errorf("pod %s has no sandbox: %w", podUID, runtime.ErrNotFound)
	}
	had := box.rec.Config.Resources
	pod.PidsLimit = had.PidsLimit
	if err := r.memoryFits(box, pod, containers); err != nil {
		// Other containers may start with what they are given now, for which the pod
		// needs the room.
		wide := more(had, pod)
		return errors.Join(fmt.Errorf("cannot decrease memory limits: %w", err), r.cgroups.Bound(box.rec.Cgroup, wide), r.boxes.bound(podUID, wide))
	}
	// The kernel gives no container more than its pod: meanwhile the pod has what it
	// had and what it will have.
	if err := r.cgroups.Bound(box.rec.Cgroup, more(had, pod)); err != nil {
		return err
	}
	for _, c := range containers {
		if err := r.resizeOne(ctx, c); err != nil {
			return err
		}
	}
	if err := r.cgroups.Bound(box.rec.Cgroup, pod); err != nil {
		return err
	}
	return r.boxes.bound(podUID, pod)
}

// more has the larger limits of both; zero is none at all.
func more(a, b runtime.Resources) runtime.Resources {
	if a.CPUQuota == 0 || b.CPUQuota != 0 && a.CPUQuota > b.CPUQuota {
		b.CPUQuota, b.CPUPeriod = a.CPUQuota, a.CPUPeriod
	}
	if a.MemoryBytes == 0 || b.MemoryBytes != 0 && a.MemoryBytes > b.MemoryBytes {
		b.MemoryBytes = a.MemoryBytes
	}
	return b
}

// memoryFits refuses limits below what is used: the kernel would have to kill.
func (r *containerSet) memoryFits(box *sandbox, pod runtime.Resources, containers []runtime.Resize) error {
	var errs []error
	check := func(cgroup, whose string, limit int64) error {
		if limit <= 0 {
			return nil
		}
		used, err := r.cgroups.Usage(cgroup)
		if err != nil {
			return fmt.Errorf("read usage: %w", err)
		}
		if int64(used.MemoryUsageBytes) > limit {
			errs = append(errs, fmt.Errorf("attempting to set %s memory limit (%d) below current usage (%d)", whose, limit, used.MemoryUsageBytes))
		}
		return nil
	}
	if err := check(box.rec.Cgroup, "pod", pod.MemoryBytes); err != nil {
		return err
	}
	for _, resize := range containers {
		c, err := r.running(resize.ID)
		if err != nil {
			continue // It has just ended.
		}
		if err := check(c.cgroup, fmt.Sprintf("container %q", c.info.Name), resize.Resources.MemoryBytes); err != nil && r.stateOf(c).State == runtime.Running {
			return err
		}
	}
	return utilerrors.NewAggregate(errs)
}

// resizeOne updates one container, unless it does not run any more.
func (r *containerSet) resizeOne(ctx context.Context, resize runtime.Resize) error {
	c, err := r.get(resize.ID)
	if err != nil {
		return nil // It is gone.
	}
	c.op.Lock()
	defer c.op.Unlock()
	if r.stateOf(c).State != runtime.Running {
		return nil
	}
	stored, err := r.client.LoadContainer(ctx, resize.ID)
	if err != nil {
		return fmt.Errorf("resize container %s: %w", c.info.Name, err)
	}
	task, err := stored.Task(ctx, nil)
	if err == nil {
		err = task.Update(ctx, containerd.WithResources(spec.Update(resize.Resources)))
	}
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("resize container %s: %w", c.info.Name, err)
	}
	if err := r.label(ctx, c, record.ResizedLabels(resize), resize.Labels); err != nil {
		return fmt.Errorf("note the resize of container %s: %w", c.info.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.resources = resize.Resources
	return nil
}

// Mark implements Interface.
func (r *containerSet) Mark(ctx context.Context, id string, labels map[string]string) error {
	ctx, cancel := context.WithTimeout(r.cfg.namespaced(ctx), startTimeout)
	defer cancel()
	c, err := r.get(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if r.stateOf(c).State != runtime.Running {
		return nil
	}
	if err := r.label(ctx, c, record.Marks(labels), labels); err != nil {
		return fmt.Errorf("label container %s: %w", c.info.Name, err)
	}
	return nil
}

// label keeps labels with a container in containerd's store, and shows them. The caller
// holds op.
func (r *containerSet) label(ctx context.Context, c *container, kept, shown map[string]string) error {
	var paths []string
	for name := range kept {
		paths = append(paths, "labels."+name)
	}
	if _, err := r.client.ContainerService().Update(ctx, store.Container{ID: c.info.ID, Labels: kept}, paths...); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.info.Labels = maps.Clone(c.info.Labels)
	maps.Copy(c.info.Labels, shown)
	return nil
}
