package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/namespaces"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/network"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/capture"
	"headway.dev/nodes/runtime/cgroup"
	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/handler"
	"headway.dev/nodes/runtime/images"
	"headway.dev/nodes/runtime/tasks"
	"headway.dev/nodes/slot"
)

// defaultNamespace is our namespace in containerd.
const defaultNamespace = "headway"

const defaultRunDir = "/run/headway"

// Network connects sandboxes; nodes/network implements it.
type Network interface {
	Attach(ctx context.Context, pod, netns string, ports []network.HostPort) ([]netip.Addr, error)
	Detach(ctx context.Context, pod string) error
	Cleanup(ctx context.Context) error
}

// Config determines where the runtime keeps its files. Two runtimes on one
// machine must differ in Root, RunDir and CgroupRoot.
type Config struct {
	// Root keeps what must survive a reboot: images, containers, sandboxes.
	Root string
	// RunDir keeps sockets, namespaces and FIFOs; /run/headway if empty. It
	// must be short, because socket paths are limited to 107 bytes.
	RunDir string
	// LogDir is where the container logs are; <Root>/logs if empty.
	LogDir string
	// LogMaxSize is the size in bytes at which a container's log is rotated,
	// and LogMaxFiles the number of files that are kept, including the one
	// being written; the kubelet's 10 MiB and 5 if zero.
	LogMaxSize  int64
	LogMaxFiles int
	// ContainerdAddress is the socket of a containerd to use; empty runs a
	// private one.
	ContainerdAddress string
	// Handlers are those of RuntimeClasses, besides runc.
	Handlers handler.Set
	// CgroupRoot is the name of our cgroup in every hierarchy; headway if empty.
	CgroupRoot string
	// Namespace is the containerd namespace; headway if empty.
	Namespace string
	Network   Network
	// Shared reports that another agent owns the network and the cgroups:
	// Cleanup leaves them alone.
	Shared bool
	// ParallelStarts bounds how many containers are created or started at a
	// time; zero chooses by the number of CPUs. More only adds latency.
	ParallelStarts int
	Log            *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	if c.Root == "" {
		return c, errors.New("runtime: Root is empty")
	}
	set(&c.RunDir, defaultRunDir)
	set(&c.CgroupRoot, "headway")
	set(&c.Namespace, defaultNamespace)
	for _, p := range []*string{&c.Root, &c.RunDir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return c, fmt.Errorf("runtime: %w", err)
		}
		*p = abs
	}
	set(&c.LogDir, filepath.Join(c.Root, "logs"))
	if c.LogMaxSize <= 0 {
		c.LogMaxSize = capture.DefaultMaxSize
	}
	if c.LogMaxFiles <= 0 {
		c.LogMaxFiles = capture.DefaultMaxFiles
	}
	if c.ParallelStarts <= 0 {
		c.ParallelStarts = min(max(goruntime.NumCPU(), 2), 4)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Network == nil {
		return c, errors.New("runtime: Network is nil")
	}
	return c, nil
}

// Runtime implements Interface on containerd.
type Runtime struct {
	*images.Store // Image, Pull, Import and Images of Interface
	*state        // List and Get
	*sandboxSet   // EnsureSandbox and DialPod
	*containerSet // those that create, start, stop and remove, Stats and StorageUsage
	*streams      // Exec and Attach
	logDir        // LogPath, RemoveLogs and LoggedPods

	cfg     Config
	log     *slog.Logger
	lock    *os.File       // keeps a second runtime out of Root
	daemon  *daemon.Daemon // nil with a containerd of somebody else
	client  *containerd.Client
	cgroups *cgroup.Tree
	tees    *capture.Tees
	hints   hints
	work    *work
}

var _ runtime.Interface = (*Runtime)(nil)

// Start connects to containerd, starting or adopting the private one, reads
// back the pods of a previous run, and follows their events until Close or the
// end of ctx. From then on it copies the output of containers.
func Start(ctx context.Context, cfg Config) (_ *Runtime, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("running containers needs root: start it with sudo")
	}
	lock, err := lockRoot(cfg.Root)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	r := &Runtime{
		cfg: cfg, log: cfg.Log, lock: lock, logDir: logDir(cfg.LogDir),
		state: newState(), hints: make(hints, 1024), tees: capture.NewTees(2 * goruntime.NumCPU()),
	}
	if r.cgroups, err = cgroup.Open(cfg.CgroupRoot); err != nil {
		return nil, err
	}
	address := cfg.ContainerdAddress
	if address == "" {
		if r.daemon, err = daemon.New(cfg.Root, cfg.RunDir, cfg.Log); err != nil {
			return nil, err
		}
		address = r.daemon.Socket
		r.client, err = r.daemon.Open(ctx, cfg.Namespace)
	} else {
		r.client, err = daemon.Connect(ctx, address, cfg.Namespace)
	}
	if err != nil {
		return nil, err
	}
	// Not earlier: a start that is refused leaves nothing outside the data dir.
	for _, dir := range []string{filepath.Join(cfg.Root, "sandboxes"), filepath.Join(cfg.RunDir, "sandboxes"), cfg.LogDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, errors.Join(fmt.Errorf("make directory: %w", err), r.client.Close())
		}
	}
	if err := cfg.remember(); err != nil {
		return nil, errors.Join(err, r.client.Close())
	}
	if r.Store, err = images.New(r.client, cfg.Namespace, cfg.imagesDir(), r.log); err != nil {
		return nil, errors.Join(err, r.client.Close())
	}
	r.work = newWork(cfg.namespaced(ctx))
	r.wire(address)
	ready := make(chan error, 1)
	r.work.run(func(ctx context.Context) { guard.Do(ctx, "watch containerd", func() { r.watch(ctx, ready) }) })
	if err := <-ready; err != nil {
		return nil, errors.Join(err, r.shutdown())
	}
	return r, nil
}

// wire makes the parts of the runtime that work through containerd.
func (r *Runtime) wire(address string) {
	starts, podLock := slot.New(r.cfg.ParallelStarts, slotTime), &keyedLock{}
	r.sandboxSet = &sandboxSet{
		state: r.state, cfg: r.cfg, log: r.log, address: address, cgroups: r.cgroups, starts: starts, podLock: podLock,
	}
	r.containerSet = &containerSet{
		state: r.state, cfg: r.cfg, log: r.log, client: r.client, cgroups: r.cgroups, images: r.Store, boxes: r.sandboxSet, logs: r.logDir,
		starts: starts, podLock: podLock, tees: r.tees, work: r.work, hints: r.hints,
	}
	r.tasks = tasks.New(tasks.Config{
		Client: r.client, Address: address, Namespace: r.cfg.Namespace, RuncRoot: r.cfg.runcRoot(),
		Daemon: r.daemon, Gone: r.resync, Log: r.log,
	})
	r.streams = &streams{state: r.state, cfg: r.cfg, log: r.log, client: r.client, boxes: r.sandboxSet}
}

// Close stops following events and copying logs and disconnects. Containers
// keep running, and so does the private containerd.
func (r *Runtime) Close() error {
	err := r.shutdown()
	r.lock.Close()
	return err
}

func (r *Runtime) shutdown() error {
	// The watcher and exits first: they use the log copiers and the client.
	if !r.work.end() {
		return nil
	}
	for _, c := range r.everyContainer() {
		c.closeIO()
	}
	close(r.hints)
	r.tees.Close()
	return r.client.Close()
}

// Events implements Interface.
func (r *Runtime) Events() <-chan runtime.Event { return r.hints }

// hints reports what has changed.
type hints chan runtime.Event

// emit never blocks: a reader that is behind lists again anyway.
func (h hints) emit(podUID string) {
	select {
	case h <- runtime.Event{PodUID: podUID}:
	default:
	}
}

// work owns the goroutines of the runtime.
type work struct {
	ctx    context.Context //nolint:containedctx // the life of the goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	ended bool
}

func newWork(ctx context.Context) *work {
	w := &work{}
	w.ctx, w.cancel = context.WithCancel(ctx)
	return w
}

// run runs f until it returns; end waits for it. After end has begun it is not run:
// the next Start sees the same again.
func (w *work) run(f func(ctx context.Context)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	w.wg.Go(func() { guard.Do(w.ctx, "work of the container runtime", func() { f(w.ctx) }) })
}

// end cancels and waits for what runs. It reports whether it is the first one.
func (w *work) end() bool {
	w.mu.Lock()
	first := !w.ended
	w.ended = true
	w.mu.Unlock()
	if first {
		w.cancel()
		w.wg.Wait()
	}
	return first
}

// namespaced puts our containerd namespace into the context of a caller.
func (c Config) namespaced(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, c.Namespace)
}

// runcRoot is where runc keeps its states: its default directory is shared by all
// containerds of the machine, and IDs repeat among agents that run the same pod.
func (c Config) imagesDir() string { return filepath.Join(c.RunDir, "images") }

func (c Config) runcRoot() string { return filepath.Join(c.RunDir, "runc") }

// slotTime is the longest that one create or start keeps the others waiting.
const slotTime = 5 * time.Second

// errInUse says that another process owns the root.
var errInUse = errors.New("is in use by another process")

func lockRoot(root string) (*os.File, error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, fmt.Errorf("make root directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock root directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s %w: %w", root, errInUse, err)
	}
	return f, nil
}

// RemoveSandbox implements Interface.
func (r *Runtime) RemoveSandbox(ctx context.Context, pod runtime.PodRef) error {
	if err := pod.Check(); err != nil {
		return err
	}
	defer r.sandboxSet.podLock.lock(pod.UID)()
	var g errgroup.Group
	for _, id := range r.containersOf(pod.UID) {
		g.Go(func() error {
			return guard.Call(ctx, "remove container "+id, func() error {
				if err := r.StopContainer(ctx, id, 0); err != nil {
					return err
				}
				return r.removeContainer(ctx, id)
			})
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("remove containers of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if err := r.teardown(ctx, pod.UID); err != nil {
		return fmt.Errorf("remove sandbox of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	r.mu.Lock()
	delete(r.sandboxes, pod.UID)
	r.mu.Unlock()
	r.hints.emit(pod.UID)
	return nil
}

// Version is the container runtime's name and version, as a Node reports it:
// containerd://1.6.20. A private containerd that has just been killed is waited for.
func (r *Runtime) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		version, err := r.client.Version(ctx)
		if err == nil {
			return "containerd://" + version.Version, nil
		}
		err = fmt.Errorf("ask containerd for its version: %w", err)
		if r.daemon == nil {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
