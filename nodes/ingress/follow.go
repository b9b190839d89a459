package ingress

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/nodes/objects"
)

func (s *Server) followIngresses(ctx context.Context) {
	store := &objects.Follower[*networkingv1.Ingress]{
		Set: func(i *networkingv1.Ingress) {
			s.change(func() { s.ingresses[types.NamespacedName{Namespace: i.Namespace, Name: i.Name}] = i })
		},
		Drop: func(namespace, name string) {
			s.change(func() { delete(s.ingresses, types.NamespacedName{Namespace: namespace, Name: name}) })
		},
		Keep: func(keep func(namespace, name string) bool) {
			s.change(func() {
				for k := range s.ingresses {
					if !keep(k.Namespace, k.Name) {
						delete(s.ingresses, k)
					}
				}
			})
		},
		Complete: &s.read.ingresses,
	}
	s.cfg.Cluster.Ingresses.Follow(ctx, woken{store, s})
}

func (s *Server) followClasses(ctx context.Context) {
	store := &objects.Follower[*networkingv1.IngressClass]{
		Set:  func(c *networkingv1.IngressClass) { s.change(func() { s.classes[c.Name] = c }) },
		Drop: func(_, name string) { s.change(func() { delete(s.classes, name) }) },
		Keep: func(keep func(namespace, name string) bool) {
			s.change(func() {
				for name := range s.classes {
					if !keep("", name) {
						delete(s.classes, name)
					}
				}
			})
		},
		Complete: &s.read.classes,
	}
	s.cfg.Cluster.IngressClasses.Follow(ctx, woken{store, s})
}

func (s *Server) followServices(ctx context.Context) {
	store := &objects.Follower[*corev1.Service]{
		Set: s.upstreams.SetService, Drop: s.upstreams.DeleteService, Keep: s.upstreams.KeepServices, Complete: &s.read.services,
	}
	s.cfg.Cluster.Services.Follow(ctx, woken{store, s})
}

func (s *Server) followSlices(ctx context.Context) {
	store := &objects.Follower[*discoveryv1.EndpointSlice]{
		Set: s.upstreams.SetSlice, Drop: s.upstreams.DeleteSlice, Keep: s.upstreams.KeepSlices, Complete: &s.read.slices,
	}
	// Endpoints need no look at the routes, but for the first.
	first := func() {
		if !s.active.Load() {
			s.routes.Set()
		}
	}
	s.cfg.Cluster.EndpointSlices.Follow(ctx, &replaced{store, first})
}

func (s *Server) change(edit func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit()
}

// store is what a reflector writes to.
type store interface {
	Add(obj any) error
	Update(obj any) error
	Delete(obj any) error
	Replace(list []any, version string) error
	Resync() error
}

// woken has the routes looked at after each change of a store.
type woken struct {
	store
	server *Server
}

func (w woken) Add(obj any) error    { defer w.server.routes.Set(); return w.store.Add(obj) }
func (w woken) Update(obj any) error { defer w.server.routes.Set(); return w.store.Update(obj) }
func (w woken) Delete(obj any) error { defer w.server.routes.Set(); return w.store.Delete(obj) }

func (w woken) Replace(list []any, version string) error {
	defer w.server.routes.Set()
	return w.store.Replace(list, version)
}

// replaced tells of each list.
type replaced struct {
	store
	tell func()
}

func (r *replaced) Replace(list []any, version string) error {
	defer r.tell()
	return r.store.Replace(list, version)
}
