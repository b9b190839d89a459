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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/namespaces"
	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/network"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/capture"
	"headway.dev/nodes/runtime/cgroup"
	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/images"
	"headway.dev/nodes/runtime/spec"
	"headway.dev/nodes/slot"
)

// defaultNamespace is our namespace in containerd.
const defaultNamespace = "headway"

// Network connects sandboxes; nodes/network implements it.
type Network interface {
	Attach(ctx context.Context, pod, netns string, ports []network.HostPort) ([]netip.Addr, error)
	Detach(ctx context.Context, pod string) error
	Cleanup(ctx context.Context) error
}

// Config says where the runtime keeps its things. Two runtimes on one machine
// must differ in Root, RunDir and CgroupRoot.
type Config struct {
	// Root keeps what must survive a reboot: images, containers, sandboxes.
	Root string
	// RunDir keeps sockets, namespaces and FIFOs; /run/headway if empty. It
	// must be short, because socket paths are limited to 107 bytes.
	RunDir string
	// LogDir is where the container logs are; <Root>/logs if empty.
	LogDir string
	// LogMaxSize is the size in bytes at which a container's log is rotated,
	// LogMaxFiles how many files are kept of it with the one being written; the
	// kubelet's 10 MiB and 5 if zero.
	LogMaxSize  int64
	LogMaxFiles int
	// ContainerdAddress is the socket of a containerd to use; empty runs a
	// private one.
	ContainerdAddress string
	// CgroupRoot is the name of our cgroup in every hierarchy; headway if empty.
	CgroupRoot string
	// Namespace is the containerd namespace; headway if empty.
	Namespace string
	Network   Network
	// Shared says that another agent has the network and the cgroups: Cleanup
	// leaves them.
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
	set(&c.RunDir, "/run/headway")
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

	cfg     Config
	log     *slog.Logger
	lock    *os.File       // keeps a second runtime out of Root
	daemon  *daemon.Daemon // nil with a containerd of somebody else
	client  *containerd.Client
	address string // of containerd
	cgroups *cgroup.Tree
	tees    *capture.Tees
	events  chan runtime.Event
	starts  *slot.Slots // one for each create or start under way
	podLock keyedLock
	oomAdj  spec.OOMAdjuster
	execs   atomic.Uint64 // numbers the commands of exec

	ctx    context.Context //nolint:containedctx // the life of the goroutines below
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	sandboxes  map[string]*sandbox   // by pod UID
	containers map[string]*container // by ID
}

var _ runtime.Interface = (*Runtime)(nil)

// Start connects to containerd, starting or adopting the private one, reads
// back the pods of a former run, and follows their events until Close or the
// end of ctx. What the containers print is copied from then on.
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
		cfg: cfg, log: cfg.Log, lock: lock,
		tees:       capture.NewTees(2 * goruntime.NumCPU()),
		events:     make(chan runtime.Event, 1024),
		starts:     slot.New(cfg.ParallelStarts, slotTime),
		sandboxes:  map[string]*sandbox{},
		containers: map[string]*container{},
	}
	if r.cgroups, err = cgroup.Open(cfg.CgroupRoot); err != nil {
		return nil, err
	}
	r.address = cfg.ContainerdAddress
	if r.address == "" {
		if r.daemon, err = daemon.New(cfg.Root, cfg.RunDir, cfg.Log); err != nil {
			return nil, err
		}
		if err := r.daemon.Ensure(ctx); err != nil {
			return nil, err
		}
		r.address = r.daemon.Socket
	}
	if r.client, err = daemon.Connect(ctx, r.address, cfg.Namespace); err != nil {
		return nil, err
	}
	r.Store = images.New(r.client, cfg.Namespace, cfg.Log)
	// Not earlier: a start that is refused leaves nothing outside the data dir.
	for _, dir := range []string{filepath.Join(cfg.Root, "sandboxes"), filepath.Join(cfg.RunDir, "sandboxes"), cfg.LogDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, errors.Join(fmt.Errorf("make directory: %w", err), r.client.Close())
		}
	}
	r.ctx, r.cancel = context.WithCancel(namespaces.WithNamespace(ctx, cfg.Namespace))
	ready := make(chan error, 1)
	r.wg.Go(func() { guard.Do(r.ctx, "watch containerd", func() { r.watch(r.ctx, ready) }) })
	if err := <-ready; err != nil {
		return nil, errors.Join(err, r.shutdown())
	}
	return r, nil
}

// Close stops following events and copying logs and disconnects. Containers
// keep running, and so does the private containerd.
func (r *Runtime) Close() error {
	err := r.shutdown()
	r.lock.Close()
	return err
}

func (r *Runtime) shutdown() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	// The watcher and exits first: they use the log copiers and the client.
	r.wg.Wait()
	r.mu.Lock()
	all := make([]*container, 0, len(r.containers))
	for _, c := range r.containers {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		c.closeIO()
	}
	close(r.events)
	r.tees.Close()
	return r.client.Close()
}

// background runs f until it returns; Close waits for it. After Close has
// begun it is not run: the next Start sees the same again.
func (r *Runtime) background(f func(ctx context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.wg.Go(func() { guard.Do(r.ctx, "work of the container runtime", func() { f(r.ctx) }) })
}

// Events implements Interface.
func (r *Runtime) Events() <-chan runtime.Event { return r.events }

// emit never blocks: a reader that is behind lists again anyway.
func (r *Runtime) emit(podUID string) {
	select {
	case r.events <- runtime.Event{PodUID: podUID}:
	default:
	}
}

// namespaced puts our containerd namespace into the context of a caller.
func (r *Runtime) namespaced(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, r.cfg.Namespace)
}

// slotTime is the longest that one create or start keeps the others waiting.
const slotTime = 5 * time.Second

// List implements Interface.
func (r *Runtime) List(context.Context) (map[string]runtime.Pod, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]runtime.Pod{}
	for uid, s := range r.sandboxes {
		info := s.info()
		out[uid] = runtime.Pod{Sandbox: &info}
	}
	for _, c := range r.containers {
		p := out[c.info.Pod.UID]
		p.Containers = append(p.Containers, c.snapshot())
		out[c.info.Pod.UID] = p
	}
	for _, p := range out {
		sortContainers(p.Containers)
	}
	return out, nil
}

// Get implements Interface.
func (r *Runtime) Get(_ context.Context, podUID string) (runtime.Pod, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var p runtime.Pod
	if s := r.sandboxes[podUID]; s != nil {
		info := s.info()
		p.Sandbox = &info
	}
	for _, c := range r.containers {
		if c.info.Pod.UID == podUID {
			p.Containers = append(p.Containers, c.snapshot())
		}
	}
	sortContainers(p.Containers)
	return p, nil
}

func sortContainers(cs []runtime.Container) {
	slices.SortFunc(cs, func(a, b runtime.Container) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return a.Attempt - b.Attempt
	})
}

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

// keyedLock is a mutex for each key.
type keyedLock struct {
	mu    sync.Mutex
	locks map[string]*countedMutex
}

type countedMutex struct {
	sync.Mutex
	users int
}

func (k *keyedLock) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*countedMutex{}
	}
	m := k.locks[key]
	if m == nil {
		m = &countedMutex{}
		k.locks[key] = m
	}
	m.users++
	k.mu.Unlock()
	m.Lock()
	return func() {
		m.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if m.users--; m.users == 0 {
			delete(k.locks, key)
		}
	}
}
