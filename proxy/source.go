package proxy

import (
	"context"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/guard"
)

// notProxied leaves out, as kube-proxy does, what another proxy serves.
const notProxied = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"

// clientSource follows the API. A reflector lists and watches, and does both
// again after errors, with back-off.
type clientSource struct {
	services, slices *store
	reflectors       []*cache.Reflector
	changed          chan struct{}
}

func newClientSource(client kubernetes.Interface) *clientSource {
	s := &clientSource{changed: make(chan struct{}, 1)}
	newStore := func() *store {
		return &store{Store: cache.NewStore(cache.MetaNamespaceKeyFunc), notify: s.notify}
	}
	s.services, s.slices = newStore(), newStore()
	services, slices := client.CoreV1().Services(""), client.DiscoveryV1().EndpointSlices("")
	follow := func(name string, expected runtime.Object, to cache.Store,
		list func(context.Context, metav1.ListOptions) (runtime.Object, error),
		watchFunc func(context.Context, metav1.ListOptions) (watch.Interface, error),
	) {
		lw := &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.LabelSelector = notProxied
				return list(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.LabelSelector = notProxied
				return watchFunc(ctx, o)
			},
		}
		s.reflectors = append(s.reflectors, cache.NewReflectorWithOptions(
			cache.ToListWatcherWithWatchListSemantics(lw, client), expected, to, cache.ReflectorOptions{Name: name}))
	}
	follow("proxy services", &corev1.Service{}, s.services,
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return services.List(ctx, o) }, services.Watch)
	follow("proxy endpointslices", &discoveryv1.EndpointSlice{}, s.slices,
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return slices.List(ctx, o) }, slices.Watch)
	return s
}

func (s *clientSource) notify() {
	select {
	case s.changed <- struct{}{}:
	default: // one is waiting already
	}
}

// Run implements Source.
func (s *clientSource) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, r := range s.reflectors {
		wg.Go(func() { guard.Do(ctx, "watch "+r.Name(), func() { r.RunWithContext(ctx) }) })
	}
	wg.Wait()
	return nil
}

// Changed implements Source.
func (s *clientSource) Changed() <-chan struct{} { return s.changed }

// Snapshot implements Source.
func (s *clientSource) Snapshot() ([]*corev1.Service, []*discoveryv1.EndpointSlice, bool) {
	complete := s.services.complete.Load() && s.slices.complete.Load()
	return listOf[*corev1.Service](s.services), listOf[*discoveryv1.EndpointSlice](s.slices), complete
}

func listOf[T any](s cache.Store) []T {
	all := s.List()
	out := make([]T, 0, len(all))
	for _, o := range all {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// store tells of every change to it.
type store struct {
	cache.Store
	notify   func()
	complete atomic.Bool
}

func (s *store) Add(obj any) error    { return s.then(s.Store.Add(obj)) }
func (s *store) Update(obj any) error { return s.then(s.Store.Update(obj)) }
func (s *store) Delete(obj any) error { return s.then(s.Store.Delete(obj)) }

// Replace receives the result of a list.
func (s *store) Replace(list []any, version string) error {
	err := s.Store.Replace(list, version)
	s.complete.Store(true)
	return s.then(err)
}

func (s *store) then(err error) error {
	s.notify()
	return err
}
