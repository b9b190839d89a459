package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/manifests/nodeconfig"
	"headway.dev/nodes/known"
)

// tellPeriod is how often neighbours are told of the addresses: one that was cut off
// when an address moved may still send to the node that had it.
const tellPeriod = 10 * time.Second

// Config says for which node.
type Config struct {
	NodeName string
	// IP is this node's address; its link leads to the neighbours that are told.
	IP netip.Addr
	// Link is the name of the link that has the addresses, at most 15 characters.
	Link     string
	Services *known.Kind
	Log      *slog.Logger
}

// Announcer answers for addresses.
type Announcer struct {
	cfg  Config
	wake loop.Flag

	mu sync.Mutex
	// chosen are the addresses of each Service for which this node is.
	chosen map[string][]netip.Addr
	// known says that all Services are known.
	known bool
}

// New changes nothing.
func New(cfg Config) *Announcer {
	return &Announcer{cfg: cfg, wake: loop.NewFlag(), chosen: map[string][]netip.Addr{}}
}

// Run answers until ctx ends.
func (a *Announcer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_ = guard.Loop(ctx, "watch the load balancers", func(ctx context.Context) error { // it has no error
			a.cfg.Services.Follow(ctx, store{a})
			return nil
		})
	})
	loop.Follow(ctx, "addresses of load balancers", a.wake, loop.Backoff{First: 100 * time.Millisecond, Last: 5 * time.Second, Spread: 0.2}, func(context.Context) (time.Duration, error) {
		err := a.look()
		if err != nil {
			a.cfg.Log.Warn("cannot answer for all addresses of load balancers; trying again", "err", err)
		}
		return tellPeriod, err
	})
	return nil
}

func (a *Announcer) look() error {
	a.mu.Lock()
	known := a.known
	var want []netip.Addr
	for _, ips := range a.chosen {
		want = append(want, ips...)
	}
	a.mu.Unlock()
	if !known {
		return nil // what a former run has left holds
	}
	slices.SortFunc(want, netip.Addr.Compare)
	if err := hold(a.cfg.Link, slices.Compact(want)); err != nil {
		return err
	}
	return tell(a.cfg.IP, want)
}

// addresses are those of a Service that this node is to answer for.
func addresses(svc *corev1.Service, node string) []netip.Addr {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Annotations[nodeconfig.AnnouncedBy] != node {
		return nil
	}
	if class := svc.Spec.LoadBalancerClass; class != nil && *class != nodeconfig.BalancerClass {
		return nil // another controller's, whose addresses are answered for elsewhere
	}
	var out []netip.Addr
	for _, in := range svc.Status.LoadBalancer.Ingress {
		// Others than these have their own meaning, and must not be taken from anybody.
		if ip, err := netip.ParseAddr(in.IP); err == nil && ip.Is4() && ip.IsGlobalUnicast() {
			out = append(out, ip)
		}
	}
	return out
}

// store is what the watch of the Services writes to.
type store struct{ *Announcer }

func (s store) set(obj any) error {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return fmt.Errorf("%T is no Service", obj)
	}
	name, ips := svc.Namespace+"/"+svc.Name, addresses(svc, s.cfg.NodeName)
	if slices.Equal(s.chosen[name], ips) {
		return nil
	}
	if s.chosen[name] = ips; len(ips) == 0 {
		delete(s.chosen, name)
	}
	s.wake.Set()
	return nil
}

// Add implements cache.ReflectorStore.
func (s store) Add(obj any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set(obj)
}

// Update implements cache.ReflectorStore.
func (s store) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s store) Delete(obj any) error {
	name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, had := s.chosen[name]; had {
		delete(s.chosen, name)
		s.wake.Set()
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (s store) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.chosen)
	s.known = true
	s.wake.Set()
	var errs []error
	for _, obj := range list {
		errs = append(errs, s.set(obj))
	}
	return errors.Join(errs...)
}

// Resync implements cache.ReflectorStore.
func (s store) Resync() error { return nil }
