package hollow

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/objects"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/registration"
	"headway.dev/nodes/runtime"
)

// node is one hollow node.
type node struct {
	fleet *Fleet
	name  string
	ip    string
	power *power
}

func newNode(f *Fleet, i int) *node {
	return &node{fleet: f, name: fmt.Sprintf("%s%d", f.cfg.Prefix, i), ip: nodeAddress(i), power: newPower()}
}

// Addresses are of 198.18.0.0/15, which RFC 2544 keeps for benchmarks: nobody else's
// traffic goes there. The last quarter is the nodes'.
var benchmarks = netip.MustParsePrefix("198.18.0.0/15")

const podAddresses = 3 << 15

// MaxNodes is how many nodes a fleet can have: each needs an address.
const MaxNodes = 1<<15 - 2

func address(i uint32) string {
	base := benchmarks.Addr().As4()
	n := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
	n += i
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}).String()
}

func nodeAddress(i int) string { return address(podAddresses + 1 + uint32(i)) } //nolint:gosec // at most MaxNodes

// podAddress is the next address of a pod. After some hundred thousand pods they
// come again.
func (f *Fleet) podAddress() string { return address(1 + f.addresses.Add(1)%(podAddresses-1)) }

// run is the node's life: as long as it has power it is an agent.
func (n *node) run(ctx context.Context, turns chan struct{}) {
	for ctx.Err() == nil {
		on, changed := n.power.state()
		if on {
			life, end := context.WithCancel(ctx)
			var wg sync.WaitGroup
			wg.Go(func() {
				guard.Do(life, "hollow node "+n.name, func() { n.live(life, turns) })
			})
			select {
			case <-ctx.Done():
			case <-changed:
			}
			end()
			wg.Wait()
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// live registers the node and follows its pods until ctx ends.
func (n *node) live(ctx context.Context, turns chan struct{}) {
	cfg := &n.fleet.cfg
	labels := map[string]string{}
	maps.Copy(labels, cfg.Labels)
	labels[Label] = "true"
	no := func() bool { return false }
	self := registration.New(registration.Config{
		NodeName: n.name, NodeIP: n.ip, Client: together{cfg.Client, &n.fleet.pulse}, Labels: labels, VolumesDir: volumesDir, Taints: cfg.Taints, MaxPods: int(cfg.Capacity.Pods().Value()),
		Version: cfg.Version, RuntimeVersion: "hollow://" + cfg.Version, Machine: n.fleet.machine,
		Images:         func(context.Context) ([]runtime.ImageInfo, error) { return nil, nil },
		MemoryPressure: no, DiskPressure: no, Log: cfg.Log,
		Follow: n.follow(),
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return guard.Call(ctx, "begin hollow node "+n.name, func() error { return n.begin(ctx, self, group, turns) })
	})
	if err := group.Wait(); err != nil {
		cfg.Log.Warn("a hollow node has ended", "node", n.name, "err", err)
	}
}

// begin waits for its turn, registers the node and follows its pods.
func (n *node) begin(ctx context.Context, self *registration.Node, group *errgroup.Group, turns chan struct{}) error {
	cfg := &n.fleet.cfg
	select {
	case turns <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	err := guard.Call(ctx, "register hollow node "+n.name, func() error { return self.Register(ctx, group) })
	<-turns
	if err != nil || ctx.Err() != nil {
		return err
	}
	cfg.Registered(n.name, int(n.fleet.registered.Add(1)))
	return guard.Loop(ctx, "watch pods", func(ctx context.Context) error {
		store := &podStore{node: n, ctx: ctx}
		if !cfg.OwnWatches {
			n.fleet.ownPods.follow(ctx, n.name, store)
			return nil
		}
		selector := fields.OneTermEqualSelector("spec.nodeName", n.name).String()
		objects.Follow(ctx, cfg.Client, cfg.Client.CoreV1().Pods(metav1.NamespaceAll), selector, &corev1.Pod{}, store, "hollow-pods")
		return nil
	})
}

// follow is how the node sees its own object; nil is by a watch of its own.
func (n *node) follow() func(context.Context, cache.ReflectorStore) {
	if n.fleet.cfg.OwnWatches {
		return nil
	}
	return func(ctx context.Context, store cache.ReflectorStore) {
		n.fleet.ownNodes.follow(ctx, n.name, store)
	}
}

// podStore hands on what the node's reflector sees.
type podStore struct {
	node *node
	ctx  context.Context //nolint:containedctx // the life of the reflector
}

func (s *podStore) Add(obj any) error    { s.changed(obj); return nil }
func (s *podStore) Update(obj any) error { s.changed(obj); return nil }
func (s *podStore) Resync() error        { return nil }

func (s *podStore) Delete(obj any) error {
	s.node.fleet.removed(obj.(*corev1.Pod).UID)
	return nil
}

func (s *podStore) changed(obj any) {
	p := obj.(*corev1.Pod)
	if p.ManagedFields != nil { // else others may already read it
		p.ManagedFields = nil // it is most of a pod, and no node reads it
	}
	guard.Do(s.ctx, "take up pod "+pod.Describe(p), func() { s.node.fleet.changed(s.node, p) })
}

// Replace receives a full list: the node's pods that are not in it are gone.
func (s *podStore) Replace(list []any, _ string) error {
	have := map[types.UID]bool{}
	for _, obj := range list {
		p := obj.(*corev1.Pod)
		have[p.UID] = true
		s.node.fleet.statuses.Listed(p)
		s.changed(p)
	}
	for _, uid := range s.node.fleet.podsOf(s.node) {
		if !have[uid] {
			s.node.fleet.removed(uid)
		}
	}
	return nil
}

// power says whether a node is on, and tells of changes.
type power struct {
	mu      sync.Mutex
	on      bool
	changed chan struct{} // closed with the next change
}

func newPower() *power { return &power{on: true, changed: make(chan struct{})} }

func (p *power) state() (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on, p.changed
}

func (p *power) set(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.on != on {
		p.on = on
		close(p.changed)
		p.changed = make(chan struct{})
	}
}
