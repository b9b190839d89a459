package known

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/objects"
)

// Config says what is read, and where it is kept.
type Config struct {
	// Client reads the API as the node.
	Client kubernetes.Interface
	// Ingresses are read only if this is set.
	Ingresses bool
	// Path is the file in which the objects are kept; empty: they are not.
	Path string
	// Of tells the cluster from others: what was kept of another one is not used.
	Of string
	// Warn tells the person who started the program something; nil: nobody is told.
	Warn func(format string, args ...any)
	Log  *slog.Logger
}

// Cluster is what is known of the cluster.
type Cluster struct {
	Services, EndpointSlices, Nodes *Kind
	// Ingresses and IngressClasses have no objects unless the Config asks for them.
	Ingresses, IngressClasses *Kind

	cfg     Config
	journal *journal // nil: nothing is kept
	kinds   []*Kind  // that are read
}

// Open knows what was kept. It never fails: without the file the API has to tell.
func Open(cfg Config) *Cluster {
	if cfg.Warn == nil {
		cfg.Warn = func(string, ...any) {}
	}
	c := &Cluster{
		cfg: cfg, Services: newKind("services", func() object { return &corev1.Service{} }),
		EndpointSlices: newKind("endpointslices", func() object { return &discoveryv1.EndpointSlice{} }),
		Nodes:          newKind("nodes", func() object { return &corev1.Node{} }),
		Ingresses:      newKind("ingresses", func() object { return &networkingv1.Ingress{} }),
		IngressClasses: newKind("ingressclasses", func() object { return &networkingv1.IngressClass{} }),
	}
	all := metav1.NamespaceAll
	c.Services.read = func(ctx context.Context, store cache.ReflectorStore) {
		objects.Follow(ctx, cfg.Client, cfg.Client.CoreV1().Services(all), "", &corev1.Service{}, store, "known-services")
	}
	c.EndpointSlices.read = func(ctx context.Context, store cache.ReflectorStore) {
		objects.Follow(ctx, cfg.Client, cfg.Client.DiscoveryV1().EndpointSlices(all), "", &discoveryv1.EndpointSlice{}, store, "known-endpointslices")
	}
	c.Nodes.slim = slimNode
	c.Nodes.read = func(ctx context.Context, store cache.ReflectorStore) {
		objects.Follow(ctx, cfg.Client, cfg.Client.CoreV1().Nodes(), "", &corev1.Node{}, store, "known-nodes")
	}
	c.Ingresses.read = func(ctx context.Context, store cache.ReflectorStore) {
		objects.Follow(ctx, cfg.Client, cfg.Client.NetworkingV1().Ingresses(all), "", &networkingv1.Ingress{}, store, "known-ingresses")
	}
	c.IngressClasses.read = func(ctx context.Context, store cache.ReflectorStore) {
		objects.Follow(ctx, cfg.Client, cfg.Client.NetworkingV1().IngressClasses(), "", &networkingv1.IngressClass{}, store, "known-ingressclasses")
	}
	c.kinds = []*Kind{c.Services, c.EndpointSlices, c.Nodes}
	if cfg.Ingresses {
		c.kinds = append(c.kinds, c.Ingresses, c.IngressClasses)
	}
	if cfg.Path != "" {
		c.journal = openJournal(cfg, c.kinds)
	}
	return c
}

// Run keeps it what the API says until ctx ends, and then returns nil.
func (c *Cluster) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, k := range c.kinds {
		wg.Go(func() {
			_ = guard.Loop(ctx, "watch "+k.name, func(ctx context.Context) error { k.read(ctx, reader{k}); return nil }) // it has no error
		})
	}
	wg.Go(func() {
		_ = guard.Loop(ctx, "tell followers again", func(ctx context.Context) error { c.retry(ctx); return nil }) // it has no error
	})
	if c.journal != nil {
		_ = guard.Loop(ctx, "keep what is known of the cluster", func(ctx context.Context) error { c.journal.run(ctx); return nil }) // it has no error
	}
	return nil
}

// retryPeriod is how often a follower that failed is told of everything again.
const retryPeriod = 10 * time.Second

// retry tells followers that failed of everything again, until ctx ends.
func (c *Cluster) retry(ctx context.Context) {
	tick := time.NewTicker(retryPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, k := range c.kinds {
			k.retry()
		}
	}
}

// Close closes the file; Run has ended.
func (c *Cluster) Close() error {
	if c.journal == nil {
		return nil
	}
	return c.journal.close()
}

// slimNode leaves of a Node what routes and the proxy use. A heartbeat changes nothing
// of it, and a thousand whole ones would be megabytes.
func slimNode(o object) object {
	n := o.(*corev1.Node)
	next := &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: n.Spec.PodCIDR, PodCIDRs: n.Spec.PodCIDRs}}
	next.Name, next.UID, next.Labels, next.CreationTimestamp = n.Name, n.UID, n.Labels, n.CreationTimestamp
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			next.Status.Addresses = append(next.Status.Addresses, a)
		}
	}
	return next
}

func same(a, b object) bool {
	return a.GetResourceVersion() == b.GetResourceVersion() && reflect.DeepEqual(a, b)
}
