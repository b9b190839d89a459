package proxy

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/guard"
)

// proxyNameLabel names another proxy, which serves what has the label in the place of
// this one.
const proxyNameLabel = "service.kubernetes.io/service-proxy-name"

// What a state from the API is read from.
const (
	readServices = "services"
	readSlices   = "endpointslices"
	readNode     = "node"
)

// Follower keeps a store equal to all objects of one kind until ctx ends. They are
// shared with others.
type Follower interface {
	Follow(ctx context.Context, store cache.ReflectorStore)
}

// Cluster is what a proxy follows.
type Cluster struct {
	Services, EndpointSlices Follower
	// Nodes have this one, with its labels.
	Nodes Follower
}

// clusterSource follows a cluster.
type clusterSource struct {
	*State
	follow map[string]func(context.Context)
}

func newClusterSource(c Cluster, node string) *clusterSource {
	s := &clusterSource{State: NewState(readServices, readSlices, readNode)}
	s.follow = map[string]func(context.Context){
		"follow services for rules":       func(ctx context.Context) { c.Services.Follow(ctx, s.serviceSink()) },
		"follow endpointslices for rules": func(ctx context.Context) { c.EndpointSlices.Follow(ctx, s.sliceSink()) },
		"follow the node for rules":       func(ctx context.Context) { c.Nodes.Follow(ctx, s.nodeSink(node)) },
	}
	return s
}

// Run implements Source.
func (s *clusterSource) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for what, follow := range s.follow {
		wg.Go(func() {
			_ = guard.Loop(ctx, what, func(ctx context.Context) error { follow(ctx); return nil }) // it has no error
		})
	}
	wg.Wait()
	return nil
}

// notProxied reports whether an object is left out, as kube-proxy does: another proxy
// serves it, or there is nothing to serve.
func notProxied(o metav1.Object) bool {
	labels := o.GetLabels()
	_, others := labels[proxyNameLabel]
	_, headless := labels[corev1.IsHeadlessService]
	return others || headless
}

// sink hands on what there is.
type sink struct {
	set    func(any)
	remove func(types.NamespacedName)
	names  func() []types.NamespacedName // of what there is
	read   func()
}

func (s *clusterSource) serviceSink() *sink {
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

func (s *clusterSource) sliceSink() *sink {
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
func (s *clusterSource) nodeSink(name string) *sink {
	return &sink{
		set: func(obj any) {
			if node, ok := obj.(*corev1.Node); ok && node.Name == name {
				s.SetZone(node.Labels[corev1.LabelTopologyZone])
			}
		},
		remove: func(types.NamespacedName) {},
		names:  func() []types.NamespacedName { return nil },
		read:   func() { s.Read(readNode) },
	}
}

// put takes up an object, or that it is one to leave out now.
func (s *sink) put(obj any) {
	if o, ok := obj.(metav1.Object); ok && notProxied(o) {
		s.remove(types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()})
		return
	}
	s.set(obj)
}

// Add implements cache.ReflectorStore.
func (s *sink) Add(obj any) error { s.put(obj); return nil }

// Update implements cache.ReflectorStore.
func (s *sink) Update(obj any) error { s.put(obj); return nil }

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
		s.put(obj)
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
