package hollow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/nodes/machine"
	"headway.dev/nodes/objects"
	"headway.dev/nodes/status"
)

// Label is on every hollow node, with the value "true".
const Label = "headway.dev/hollow"

// Config is what a fleet needs. Fields without a default are required.
type Config struct {
	Client kubernetes.Interface
	// Nodes is how many nodes there are; their names are Prefix and a number from 0.
	Nodes  int
	Prefix string
	// Capacity is what each node says it has; pods default to 110.
	Capacity corev1.ResourceList
	Labels   map[string]string
	Taints   []corev1.Taint
	// RunFor is how long containers run that are not always restarted; then they
	// exit with 0. Init containers are done at once.
	RunFor time.Duration
	// OwnWatches makes each node watch itself and its pods, as the agents of machines
	// do, instead of sharing the fleet's two watches.
	OwnWatches bool
	// Version is the kubelet version to report.
	Version string
	// Registered, if set, is called with each node that has been registered, and how
	// many have been.
	Registered func(name string, count int)
	Log        *slog.Logger
}

// Fleet is a number of hollow nodes.
type Fleet struct {
	cfg      Config
	machine  machine.Machine
	statuses *status.Writer
	keys     *loop.Keys[types.UID]
	nodes    []*node
	byName   map[string]*node
	discards *objects.Discards
	// The watches of all nodes, unless each has its own.
	ownNodes, ownPods *feed

	pulse      pulse
	registered atomic.Int64
	addresses  atomic.Uint32

	mu   sync.Mutex
	pods map[types.UID]*hollowPod
}

// registering is how many nodes are registered side by side: more only adds latency.
const registering = 16

// New starts nothing.
func New(cfg Config) (*Fleet, error) {
	switch {
	case cfg.Client == nil, cfg.Log == nil, cfg.Prefix == "":
		return nil, errors.New("hollow nodes: a field of the config is missing")
	case cfg.Nodes < 1 || cfg.Nodes > MaxNodes:
		return nil, fmt.Errorf("hollow nodes: %d nodes: from 1 to %d can be run", cfg.Nodes, MaxNodes)
	}
	if cfg.Registered == nil {
		cfg.Registered = func(string, int) {}
	}
	f := &Fleet{cfg: cfg, byName: map[string]*node{}, pods: map[types.UID]*hollowPod{}}
	f.discards = newDiscards(f)
	f.machine = machine.Machine{
		Capacity: cfg.Capacity, Allocatable: cfg.Capacity,
		Memory: cfg.Capacity.Memory().Value(),
		Info:   corev1.NodeSystemInfo{OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH, OSImage: "none", KernelVersion: "none"},
	}
	f.statuses = status.New(cfg.Client, status.NewFirstLook(func() {}), cfg.Log)
	f.keys = loop.NewKeys(loop.Options[types.UID]{
		Name: "pretend to run pod", Workers: 2 * goruntime.NumCPU(), Backoff: loop.Backoff{First: 50 * time.Millisecond, Last: 5 * time.Second},
		Look: func(_ context.Context, uid types.UID) (time.Duration, error) { return f.look(uid), nil },
	})
	f.ownNodes = newFeed(false, func(obj any) string { return f.own(obj.(*corev1.Node).Name) })
	f.ownPods = newFeed(true, func(obj any) string { return f.own(obj.(*corev1.Pod).Spec.NodeName) })
	for i := range cfg.Nodes {
		n := newNode(f, i)
		f.nodes, f.byName[n.name] = append(f.nodes, n), n
	}
	return f, nil
}

// Run registers the nodes and runs them until ctx ends. It leaves the Node objects
// and their pods as they are.
func (f *Fleet) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return guard.Call(ctx, "write statuses", func() error { return f.statuses.Run(ctx) })
	})
	group.Go(func() error {
		return guard.Call(ctx, "run hollow pods", func() error { return f.keys.Run(ctx) })
	})
	group.Go(func() error {
		return guard.Call(ctx, "discard hollow volumes", func() error { return f.discards.Run(ctx) })
	})
	group.Go(func() error {
		return guard.Loop(ctx, "watch volumes", func(ctx context.Context) error { f.discards.Follow(ctx, f.cfg.Client, ""); return nil })
	})
	if !f.cfg.OwnWatches {
		f.watch(ctx, group)
	}
	turns := make(chan struct{}, registering)
	for _, n := range f.nodes {
		group.Go(func() error {
			return guard.Call(ctx, "hollow node "+n.name, func() error { n.run(ctx, turns); return nil })
		})
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("hollow nodes: %w", err)
	}
	return nil
}

// own is the name of a node if it is one of the fleet.
func (f *Fleet) own(name string) string {
	if f.byName[name] == nil {
		return ""
	}
	return name
}

// watch follows the API for all nodes. Pods that are bound elsewhere come along:
// no selector tells them apart.
func (f *Fleet) watch(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error {
		return guard.Loop(ctx, "watch hollow nodes", func(ctx context.Context) error {
			objects.Follow(ctx, f.cfg.Client, hollowNodes{f.cfg.Client.CoreV1().Nodes()}, "", &corev1.Node{}, f.ownNodes, "hollow-nodes")
			return nil
		})
	})
	group.Go(func() error {
		return guard.Loop(ctx, "watch pods of hollow nodes", func(ctx context.Context) error {
			bound := fields.OneTermNotEqualSelector("spec.nodeName", "").String()
			objects.Follow(ctx, f.cfg.Client, f.cfg.Client.CoreV1().Pods(metav1.NamespaceAll), bound, &corev1.Pod{}, f.ownPods, "hollow-pods")
			return nil
		})
	})
}

// Names are the names of the nodes.
func (f *Fleet) Names() []string {
	names := make([]string, len(f.nodes))
	for i, n := range f.nodes {
		names[i] = n.name
	}
	return names
}

// Fail makes a node go silent, as if its machine had lost its network: it renews no
// lease, and does nothing of what the API asks for, until Return.
func (f *Fleet) Fail(name string) error { return f.power(name, false) }

// Return brings a node back that Fail made go silent. Its pods are what they were.
func (f *Fleet) Return(name string) error { return f.power(name, true) }

func (f *Fleet) power(name string, on bool) error {
	n := f.byName[name]
	if n == nil {
		return fmt.Errorf("hollow node %q does not exist", name)
	}
	n.power.set(on)
	if on {
		f.discards.Wake()
	}
	return nil
}

// Running is how many pods have a container that runs, and how many are there.
func (f *Fleet) Running() (running, all int) {
	f.mu.Lock()
	pods := slices.Collect(maps.Values(f.pods))
	f.mu.Unlock()
	for _, p := range pods {
		if p.runs() {
			running++
		}
	}
	return running, len(pods)
}

// Remove deletes the Node objects from the API, and with them, by the server's
// garbage collector, the pods that are bound to them.
func (f *Fleet) Remove(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(registering)
	for _, n := range f.nodes {
		group.Go(func() error {
			return guard.Call(ctx, "remove hollow node "+n.name, func() error {
				err := f.cfg.Client.CoreV1().Nodes().Delete(ctx, n.name, metav1.DeleteOptions{})
				if err != nil && !apierrors.IsNotFound(err) {
					return fmt.Errorf("remove node %s: %w", n.name, err)
				}
				return nil
			})
		})
	}
	return group.Wait()
}
