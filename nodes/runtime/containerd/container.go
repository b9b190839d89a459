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

	"github.com/containerd/containerd/errdefs"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/capture"
	"headway.dev/nodes/runtime/fsutil"
	"headway.dev/nodes/runtime/images"
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
