package ingress

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientdiscovery "k8s.io/client-go/discovery"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"headway.dev/manifests/gateway"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/nodes/ingress/certificates"
	"headway.dev/nodes/ingress/routes"
	"headway.dev/nodes/ingress/serve"
	"headway.dev/nodes/objects"
)

// listed are the objects of one kind of the Gateway API.
type listed[T any] struct {
	all      map[types.NamespacedName]*T
	complete atomic.Bool
}

// gateways are the objects of the Gateway API, guarded by the server's mutex.
type gateways struct {
	classes    listed[gatewayv1.GatewayClass]
	gateways   listed[gatewayv1.Gateway]
	http       listed[gatewayv1.HTTPRoute]
	grpc       listed[gatewayv1.GRPCRoute]
	grants     listed[gatewayv1.ReferenceGrant]
	namespaces map[string]map[string]string // their labels
	named      atomic.Bool                  // the namespaces have been read
	// needed is closed once there is a Gateway to serve: nobody reads routes before.
	needed chan struct{}
	once   sync.Once
	// last are the Gateways that are served.
	last []*gateway.Gateway
}

func (g *gateways) init() {
	g.classes.all = map[types.NamespacedName]*gatewayv1.GatewayClass{}
	g.gateways.all = map[types.NamespacedName]*gatewayv1.Gateway{}
	g.http.all = map[types.NamespacedName]*gatewayv1.HTTPRoute{}
	g.grpc.all = map[types.NamespacedName]*gatewayv1.GRPCRoute{}
	g.grants.all = map[types.NamespacedName]*gatewayv1.ReferenceGrant{}
	g.namespaces, g.needed = map[string]map[string]string{}, make(chan struct{})
}

// followGateways reads what there is of the Gateway API, and serves its ports.
func (s *Server) followGateways(again func(string, func(context.Context))) {
	g := &s.gateways
	now := make(chan struct{})
	close(now)
	again("watch gateway classes", func(ctx context.Context) { followCustom(ctx, s, "gatewayclasses", now, &g.classes) })
	again("watch gateways", func(ctx context.Context) { followCustom(ctx, s, "gateways", now, &g.gateways) })
	again("watch http routes", func(ctx context.Context) { followCustom(ctx, s, "httproutes", g.needed, &g.http) })
	again("watch grpc routes", func(ctx context.Context) { followCustom(ctx, s, "grpcroutes", g.needed, &g.grpc) })
	again("watch reference grants", func(ctx context.Context) { followCustom(ctx, s, "referencegrants", g.needed, &g.grants) })
	again("watch namespaces for gateways", s.followNamespaces)
	again("ports of gateways", s.servePorts)
}

// discovery is how long to wait before it is asked again whether a kind is served.
var discovery = loop.Backoff{First: 500 * time.Millisecond, Last: 30 * time.Second}

// followCustom follows a kind once begin is closed and the API serves it: its definition may
// come later, or never.
func followCustom[T any](ctx context.Context, s *Server, resource string, begin <-chan struct{}, to *listed[T]) {
	select {
	case <-begin:
	case <-ctx.Done():
		return
	}
	for failures := 0; ; failures++ {
		served, err := s.serves(ctx, resource)
		if served {
			break
		}
		if err == nil && !to.complete.Swap(true) {
			s.routes.Set() // there are none of a kind that does not exist
		}
		select {
		case <-time.After(discovery.After(failures)):
		case <-ctx.Done():
			return
		}
	}
	store := &objects.Follower[*unstructured.Unstructured]{
		Set: func(u *unstructured.Unstructured) {
			name := types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}
			obj := new(T)
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
				s.cfg.Log.Error("an object is not served, as it cannot be read", "resource", resource, "namespace", name.Namespace, "name", name.Name, "err", err)
				s.change(func() { delete(to.all, name) })
				return
			}
			s.change(func() { to.all[name] = obj })
		},
		Drop: func(namespace, name string) {
			s.change(func() { delete(to.all, types.NamespacedName{Namespace: namespace, Name: name}) })
		},
		Keep: func(keep func(namespace, name string) bool) {
			s.change(func() {
				maps.DeleteFunc(to.all, func(name types.NamespacedName, _ *T) bool { return !keep(name.Namespace, name.Name) })
			})
		},
		Complete: &to.complete,
	}
	expected := &unstructured.Unstructured{}
	objects.Follow(ctx, s.cfg.Client, s.cfg.Custom.Resource(gateway.GroupVersion.WithResource(resource)), "", expected, woken{store, s}, "ingress-"+resource)
}

// serves reports whether the API has a kind of the Gateway API.
func (s *Server) serves(ctx context.Context, resource string) (bool, error) {
	list, err := clientdiscovery.ToServerResourcesInterfaceWithContext(s.cfg.Client.Discovery()).ServerResourcesForGroupVersionWithContext(ctx, gateway.GroupVersion.String())
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource }), nil
}

func (s *Server) followNamespaces(ctx context.Context) {
	select {
	case <-s.gateways.needed:
	case <-ctx.Done():
		return
	}
	g := &s.gateways
	store := &objects.Follower[*corev1.Namespace]{
		Set:  func(n *corev1.Namespace) { s.change(func() { g.namespaces[n.Name] = n.Labels }) },
		Drop: func(_, name string) { s.change(func() { delete(g.namespaces, name) }) },
		Keep: func(keep func(namespace, name string) bool) {
			s.change(func() {
				maps.DeleteFunc(g.namespaces, func(name string, _ map[string]string) bool { return !keep("", name) })
			})
		},
		Complete: &g.named,
	}
	objects.Follow(ctx, s.cfg.Client, s.cfg.Client.CoreV1().Namespaces(), "", &corev1.Namespace{}, woken{store, s}, "ingress-namespaces")
}

// lookGateways finds out what the Gateways ask for. Nil: nothing, or it is not known yet.
func (s *Server) lookGateways() *routes.Gateways {
	g := &s.gateways
	if !g.classes.complete.Load() || !g.gateways.complete.Load() {
		return nil
	}
	s.mu.Lock()
	in := gateway.Input{
		Classes: slices.Collect(maps.Values(g.classes.all)), Gateways: slices.Collect(maps.Values(g.gateways.all)),
		HTTPRoutes: slices.Collect(maps.Values(g.http.all)), GRPCRoutes: slices.Collect(maps.Values(g.grpc.all)),
		Grants: slices.Collect(maps.Values(g.grants.all)), Namespaces: maps.Clone(g.namespaces),
	}
	s.mu.Unlock()
	in.Service, in.Taken = s.upstreams.Service, gateway.Taken(s.cfg.Taken, s.upstreams.NodePorts())
	d := gateway.Decide(in)
	s.change(func() { g.last = d.Gateways })
	if len(d.Gateways) > 0 {
		g.once.Do(func() { close(g.needed) })
	}
	if !g.http.complete.Load() || !g.grpc.complete.Load() || !g.grants.complete.Load() || !g.named.Load() {
		return nil
	}
	routed := map[types.NamespacedName]bool{}
	for _, r := range d.Routes {
		if len(r.Attached) > 0 {
			routed[types.NamespacedName{Namespace: r.GetNamespace(), Name: serve.Label(r.Kind.Kind, r.GetName())}] = true
		}
	}
	for name := range s.routed {
		if !routed[name] {
			s.web.Forget(name.Namespace, name.Name)
		}
	}
	s.routed = routed
	return routes.FromGateways(d)
}

// servePorts serves the ports of Gateways besides those that are served with Ingresses, until
// ctx ends.
func (s *Server) servePorts(ctx context.Context) {
	type open struct {
		*listener
		end  context.CancelFunc
		over chan struct{}
	}
	opened := map[int32]open{}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for ctx.Err() == nil {
		s.mu.Lock()
		wanted := maps.Clone(s.ports)
		s.mu.Unlock()
		delete(wanted, 80)
		delete(wanted, 443)
		for port, o := range opened {
			if secure, ok := wanted[port]; !ok || secure != o.secure {
				o.end() // requests that have begun may take a while
				select {
				case <-o.over:
					delete(opened, port)
				default:
				}
			}
		}
		for port, secure := range wanted {
			if o, ok := opened[port]; ok {
				o.wake.Set()
				select {
				case <-o.over: // it was not wanted for a moment
				default:
					continue
				}
			}
			on, end := context.WithCancel(ctx)
			o := open{&listener{address: s.addressOf(port), secure: secure, port: port, wake: loop.NewFlag()}, end, make(chan struct{})}
			opened[port] = o
			wg.Go(func() {
				defer s.listeners.Set()
				defer close(o.over)
				guard.Do(on, "serve gateways", func() { s.listen(on, o.listener) })
			})
		}
		s.listeners.Sleep(ctx, lookPeriod)
	}
}

// addressOf is where a port of Gateways is served: at the address of Ingresses.
func (s *Server) addressOf(port int32) string {
	host, _, _ := net.SplitHostPort(cmp.Or(s.cfg.HTTP, s.cfg.HTTPS))
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// certificate chooses the certificate for a connection to a listener.
func (s *Server) certificate(l *listener, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	var byHost map[string][]*tls.Certificate
	if list := s.portCertificates.Load(); list != nil {
		byHost = (*list)[l.port]
	}
	if l.fixed {
		return s.certificates.GetBeside(byHost, hello)
	}
	if c := certificates.Choose(byHost, hello); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("no listener of the port %d has a certificate for that name", l.port)
}

// warnGateways tells of a port that cannot be served.
func (s *Server) warnGateways(port int32, message string) {
	s.mu.Lock()
	list := s.gateways.last
	s.mu.Unlock()
	for _, g := range list {
		if slices.ContainsFunc(g.Listeners, func(l *gateway.Listener) bool { return l.Served() && l.Spec.Port == port }) {
			s.cfg.WarnGateway(g.Gateway, "GatewayNotServed", message)
		}
	}
}
