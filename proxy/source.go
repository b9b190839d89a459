package proxy

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/guard"
)

// notProxied leaves out, as kube-proxy does, what another proxy serves.
const notProxied = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"

// What a state from the API is read from.
const (
	readServices = "services"
	readSlices   = "endpointslices"
	readNode     = "node"
)

// clientSource follows the API. A reflector lists and watches, and does both
// again after errors, with back-off.
type clientSource struct {
	*State
	reflectors []*cache.Reflector
}

func newClientSource(client kubernetes.Interface, node string) *clientSource {
	s := &clientSource{State: NewState(readServices, readSlices, readNode)}
	services, slices, nodes := client.CoreV1().Services(""), client.DiscoveryV1().EndpointSlices(""), client.CoreV1().Nodes()
	follow := func(name string, expected runtime.Object, narrow func(*metav1.ListOptions), to *sink,
		list func(context.Context, metav1.ListOptions) (runtime.Object, error),
		watchFunc func(context.Context, metav1.ListOptions) (watch.Interface, error),
	) {
		lw := &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				narrow(&o)
				return list(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				narrow(&o)
				return watchFunc(ctx, o)
			},
		}
		s.reflectors = append(s.reflectors, cache.NewReflectorWithOptions(
			cache.ToListWatcherWithWatchListSemantics(lw, client), expected, to, cache.ReflectorOptions{Name: name}))
	}
	proxied := func(o *metav1.ListOptions) { o.LabelSelector = notProxied }
	follow("proxy services", &corev1.Service{}, proxied, s.serviceSink(),
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return services.List(ctx, o) }, services.Watch)
	follow("proxy endpointslices", &discoveryv1.EndpointSlice{}, proxied, s.sliceSink(),
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return slices.List(ctx, o) }, slices.Watch)
	own := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, node).String()
	}
	follow("proxy node", &corev1.Node{}, own, s.nodeSink(),
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return nodes.List(ctx, o) }, nodes.Watch)
	return s
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

// sink hands on what a reflector reads.
type sink struct {
	set    func(any)
	remove func(types.NamespacedName)
	names  func() []types.NamespacedName // of what there is
	read   func()
}

func (s *clientSource) serviceSink() *sink {
	return &sink{
		set: func(obj any) {
			if svc, ok := obj.(*corev1.Service); ok {
				s.SetService(svc)
			}
		},
		remove: s.DeleteService,
		names:  func() []types.NamespacedName { return s.names(true) },
		read:   func() { s.Read(readServices) },
	}
}

func (s *clientSource) sliceSink() *sink {
	return &sink{
		set: func(obj any) {
			if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
				s.SetSlice(slice)
			}
		},
		remove: s.DeleteSlice,
		names:  func() []types.NamespacedName { return s.names(false) },
		read:   func() { s.Read(readSlices) },
	}
}

// nodeSink keeps the zone of a node that is gone for a moment.
func (s *clientSource) nodeSink() *sink {
	return &sink{
		set: func(obj any) {
			if node, ok := obj.(*corev1.Node); ok {
				s.SetZone(node.Labels[corev1.LabelTopologyZone])
			}
		},
		remove: func(types.NamespacedName) {},
		names:  func() []types.NamespacedName { return nil },
		read:   func() { s.Read(readNode) },
	}
}

// Add implements cache.ReflectorStore.
func (s *sink) Add(obj any) error { s.set(obj); return nil }

// Update implements cache.ReflectorStore.
func (s *sink) Update(obj any) error { s.set(obj); return nil }

// Delete implements cache.ReflectorStore.
func (s *sink) Delete(obj any) error {
	name, err := cache.DeletionHandlingObjectToName(obj)
	if err != nil {
		return fmt.Errorf("name of a deleted object: %w", err)
	}
	s.remove(name.AsNamespacedName())
	return nil
}

// Replace receives the result of a list.
func (s *sink) Replace(list []any, _ string) error {
	listed := map[types.NamespacedName]bool{}
	for _, obj := range list {
		name, err := cache.ObjectToName(obj)
		if err != nil {
			return fmt.Errorf("name of a listed object: %w", err)
		}
		listed[name.AsNamespacedName()] = true
	}
	// First what is new: endpoints that are in another slice now are there all the while.
	for _, obj := range list {
		s.set(obj)
	}
	for _, name := range s.names() {
		if !listed[name] {
			s.remove(name)
		}
	}
	s.read()
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *sink) Resync() error { return nil }
