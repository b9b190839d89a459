package upstream

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/gateway"
	"headway.dev/nodes/ingress/routes"
)

// Set knows the endpoints of all Services.
type Set struct {
	dial Dial

	mu       sync.RWMutex
	services map[types.NamespacedName]*corev1.Service
	// slices are by their Service, and then by their name.
	slices map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice
	// of is the Service of a slice.
	of map[types.NamespacedName]types.NamespacedName
	// pools are by their Service.
	pools map[types.NamespacedName]map[routes.Backend]*pool
	// endpoints are those that pools have, and how many do.
	endpoints map[endpointKey]*endpoint
}

// New returns a set that knows no Service.
func New(dial Dial) *Set {
	return &Set{
		dial:     dial,
		services: map[types.NamespacedName]*corev1.Service{}, slices: map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		of: map[types.NamespacedName]types.NamespacedName{}, pools: map[types.NamespacedName]map[routes.Backend]*pool{}, endpoints: map[endpointKey]*endpoint{},
	}
}

// pool is where requests of one backend can go.
type pool struct {
	endpoints []*endpoint
	// problem says why there can be no endpoints, for people.
	problem string
}

// SetService takes up a Service or its change.
func (s *Set) SetService(svc *corev1.Service) {
	s.change(types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, func(name types.NamespacedName) { s.services[name] = svc })
}

// Service is the one of a name; nil: there is none.
func (s *Set) Service(name types.NamespacedName) *corev1.Service {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.services[name]
}

// NodePorts are those of TCP that Services have on the nodes.
func (s *Set) NodePorts() map[int32]types.NamespacedName {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ports := map[int32]types.NamespacedName{}
	for name, svc := range s.services {
		for _, p := range gateway.NodePorts(svc) {
			ports[p] = name
		}
	}
	return ports
}

// DeleteService forgets a Service.
func (s *Set) DeleteService(namespace, name string) {
	s.change(types.NamespacedName{Namespace: namespace, Name: name}, func(name types.NamespacedName) { delete(s.services, name) })
}

// KeepServices forgets those that keep does not want.
func (s *Set) KeepServices(keep func(namespace, name string) bool) {
	s.mu.RLock()
	var gone []types.NamespacedName
	for name := range s.services {
		if !keep(name.Namespace, name.Name) {
			gone = append(gone, name)
		}
	}
	s.mu.RUnlock()
	for _, name := range gone {
		s.DeleteService(name.Namespace, name.Name)
	}
}

// SetSlice takes up an EndpointSlice or its change.
func (s *Set) SetSlice(slice *discoveryv1.EndpointSlice) {
	name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}
	of := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
	s.mu.RLock()
	before, had := s.of[name]
	s.mu.RUnlock()
	if had && before != of {
		s.DeleteSlice(name.Namespace, name.Name)
	}
	s.change(of, func(of types.NamespacedName) {
		if s.slices[of] == nil {
			s.slices[of] = map[string]*discoveryv1.EndpointSlice{}
		}
		s.slices[of][slice.Name], s.of[name] = slice, of
	})
}

// DeleteSlice forgets an EndpointSlice.
func (s *Set) DeleteSlice(namespace, slice string) {
	name := types.NamespacedName{Namespace: namespace, Name: slice}
	s.mu.RLock()
	of, had := s.of[name]
	s.mu.RUnlock()
	if !had {
		return
	}
	s.change(of, func(of types.NamespacedName) {
		delete(s.of, name)
		if delete(s.slices[of], slice); len(s.slices[of]) == 0 {
			delete(s.slices, of)
		}
	})
}

// KeepSlices forgets those that keep does not want.
func (s *Set) KeepSlices(keep func(namespace, name string) bool) {
	s.mu.RLock()
	var gone []types.NamespacedName
	for name := range s.of {
		if !keep(name.Namespace, name.Name) {
			gone = append(gone, name)
		}
	}
	s.mu.RUnlock()
	for _, name := range gone {
		s.DeleteSlice(name.Namespace, name.Name)
	}
}

// KeepBackends forgets the pools of all backends but those.
func (s *Set) KeepBackends(have map[routes.Backend]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for service, list := range s.pools {
		for b, p := range list {
			if !have[b] {
				delete(list, b)
				s.release(p)
			}
		}
		if len(list) == 0 {
			delete(s.pools, service)
		}
	}
}

// change makes a change of what is known of a Service, and of the pools that have its
// endpoints.
func (s *Set) change(name types.NamespacedName, edit func(types.NamespacedName)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit(name)
	for b, old := range s.pools[name] {
		// What stays is counted up before it is counted down.
		s.pools[name][b] = s.build(b)
		s.release(old)
	}
}

// pool is the one of a backend.
func (s *Set) pool(b routes.Backend) *pool {
	s.mu.RLock()
	p := s.pools[b.Service][b]
	s.mu.RUnlock()
	if p != nil {
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pools[b.Service][b]; p != nil {
		return p
	}
	if s.pools[b.Service] == nil {
		s.pools[b.Service] = map[routes.Backend]*pool{}
	}
	p = s.build(b)
	s.pools[b.Service][b] = p
	return p
}

// Problem says why a backend can have no endpoints, for people; empty: it can.
func (s *Set) Problem(b routes.Backend) string { return s.pool(b).problem }

func (s *Set) build(b routes.Backend) *pool {
	svc := s.services[b.Service]
	if svc == nil {
		return &pool{problem: fmt.Sprintf("there is no Service %s", b.Service.Name)}
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return &pool{problem: fmt.Sprintf("the Service %s is of the type ExternalName, which leads out of the cluster and is not served", b.Service.Name)}
	}
	i := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool {
		return (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP) && (b.Port.Name != "" && p.Name == b.Port.Name || b.Port.Name == "" && p.Port == b.Port.Number)
	})
	if i < 0 {
		port := b.Port.Name
		if port == "" {
			port = fmt.Sprint(b.Port.Number)
		}
		return &pool{problem: fmt.Sprintf("the Service %s has no TCP port %s", b.Service.Name, port)}
	}
	port := &svc.Spec.Ports[i]
	p := &pool{}
	for _, key := range s.keys(b, port) {
		e := s.endpoints[key]
		if e == nil {
			e = newEndpoint(key, s.dial)
			s.endpoints[key] = e
		}
		e.users++
		p.endpoints = append(p.endpoints, e)
	}
	return p
}

// keys are the endpoints of a port that are ready, or if there are none, that still
// serve.
func (s *Set) keys(b routes.Backend, port *corev1.ServicePort) []endpointKey {
	ready, serving := map[endpointKey]bool{}, map[endpointKey]bool{}
	protocol := protocolOf(port.AppProtocol)
	if b.HTTP2 && protocol == http1 {
		protocol = h2c
	}
	for _, slice := range s.slices[b.Service] {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != port.Name || p.Name == nil && port.Name != "" || p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
				continue
			}
			for i := range slice.Endpoints {
				e := &slice.Endpoints[i]
				for _, address := range e.Addresses {
					addr, err := netip.ParseAddr(address)
					if err != nil {
						continue // a slice of names
					}
					key := endpointKey{netip.AddrPortFrom(addr, uint16(*p.Port)), protocol}
					if c := e.Conditions; c.Ready == nil || *c.Ready {
						ready[key] = true
					} else if c.Serving != nil && *c.Serving {
						serving[key] = true
					}
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	list := make([]endpointKey, 0, len(ready))
	for key := range ready {
		list = append(list, key)
	}
	return list
}

// release lets a pool's endpoints go that no other has.
func (s *Set) release(p *pool) {
	for _, e := range p.endpoints {
		if e.users--; e.users == 0 {
			delete(s.endpoints, e.key)
			e.transport.CloseIdleConnections()
		}
	}
}

// Close closes all idle connections.
func (s *Set) Close() { s.KeepBackends(nil) }
