package peers

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/nodes/known"
)

// lookPeriod is how often the kernel's routes are looked at: somebody may have removed
// one, and a node may have come nearer.
const lookPeriod = 10 * time.Second

// Config says for which node.
type Config struct {
	NodeName string
	// IP is this node's address.
	IP netip.Addr
	// ClusterCIDR contains the pods of all nodes.
	ClusterCIDR netip.Prefix
	// ClusterCIDR6 is the same for IPv6; zero where pods have no IPv6 addresses.
	ClusterCIDR6 netip.Prefix
	// Tunnel is the name of the tunnel's link, at most 15 characters.
	Tunnel string
	Nodes  *known.Kind
	Log    *slog.Logger
}

// Peers keeps the routes to the pods of other nodes.
type Peers struct {
	cfg  Config
	wake loop.Flag

	mu    sync.Mutex
	nodes cache.Store
	// known says that it is known which nodes there are.
	known bool

	// own is the range of this node's pods; only the loop uses it.
	own netip.Prefix
	// own6 is the one of IPv6; not valid without.
	own6 netip.Prefix
}

// New changes nothing.
func New(cfg Config) *Peers {
	return &Peers{cfg: cfg, wake: loop.NewFlag(), nodes: cache.NewStore(cache.MetaNamespaceKeyFunc)}
}

// Run keeps the routes until ctx ends, and leaves them: pods reach each other while the
// agent is away.
func (p *Peers) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_ = guard.Loop(ctx, "watch the nodes", func(ctx context.Context) error { // it has no error
			p.cfg.Nodes.Follow(ctx, store{p})
			return nil
		})
	})
	loop.Follow(ctx, "routes to other nodes", p.wake, loop.Backoff{First: 100 * time.Millisecond, Last: 5 * time.Second, Spread: 0.2}, func(context.Context) (time.Duration, error) {
		err := p.look()
		if err != nil {
			p.cfg.Log.Warn("cannot route to the pods of all other nodes; trying again", "err", err)
		}
		return lookPeriod, err
	})
	return nil
}

func (p *Peers) look() error {
	p.mu.Lock()
	known, list := p.known, p.nodes.List()
	p.mu.Unlock()
	if !known {
		return nil // the routes of a former run hold
	}
	var peers []peer
	var unusable string
	for _, obj := range list {
		n := obj.(*corev1.Node)
		found, ok := read(n, p.cfg.ClusterCIDR, p.cfg.ClusterCIDR6)
		switch {
		case n.Name == p.cfg.NodeName:
			p.own, p.own6, unusable = found.pods, found.pods6, n.Spec.PodCIDR
		case ok:
			peers = append(peers, found)
		}
	}
	switch {
	case p.own.IsValid():
	case unusable != "":
		return fmt.Errorf("the range %s of this node's pods, or its address, is none of the cluster's %s: were the server's ranges changed?", unusable, p.cfg.ClusterCIDR)
	default:
		return nil // it has no pods yet
	}
	routes, err := plan(peers, p.own, p.own6, near)
	if err != nil {
		return err
	}
	return p.apply(routes)
}

// store is what the watch of the nodes writes to.
type store struct{ *Peers }

func (s store) change(write func(cache.Store) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.wake.Set()
	return write(s.nodes)
}

// Add implements cache.ReflectorStore.
func (s store) Add(obj any) error {
	return s.change(func(c cache.Store) error { return c.Add(obj) })
}

// Update implements cache.ReflectorStore.
func (s store) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s store) Delete(obj any) error {
	return s.change(func(c cache.Store) error { return c.Delete(obj) })
}

// Replace implements cache.ReflectorStore.
func (s store) Replace(list []any, version string) error {
	return s.change(func(c cache.Store) error {
		s.known = true
		return c.Replace(list, version)
	})
}

// Resync implements cache.ReflectorStore.
func (s store) Resync() error { return nil }
