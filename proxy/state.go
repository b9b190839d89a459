package proxy

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Served is a Service with its slices.
type Served struct {
	Service *corev1.Service // nil if it is gone
	Slices  []*discoveryv1.EndpointSlice
}

// Changes are what is different since the last time.
type Changes struct {
	Services map[types.NamespacedName]Served
	// All is set if Services are all that there are.
	All bool
	// Zone is the node's zone, empty if it has none.
	Zone string
}

// State collects Services, their slices and the node's zone, and which of them
// changed, so that the proxy looks at these alone. Objects that are handed in
// must not be changed afterwards.
type State struct {
	changed chan struct{}

	mu       sync.Mutex
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]*discoveryv1.EndpointSlice
	// slicesOf are the slices of each Service.
	slicesOf map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice
	dirty    map[types.NamespacedName]bool
	all      bool // everything is dirty
	zone     string
	// unread are what was not read for the first time yet.
	unread map[string]bool
}

// NewState returns an empty state, which is complete once every one of the
// unread is Read.
func NewState(unread ...string) *State {
	s := &State{
		changed: make(chan struct{}, 1), services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]*discoveryv1.EndpointSlice{},
		slicesOf: map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		dirty:    map[types.NamespacedName]bool{}, unread: map[string]bool{},
	}
	for _, what := range unread {
		s.unread[what] = true
	}
	return s
}

// Read tells that something was read for the first time.
func (s *State) Read(what string) {
	s.change(func() { delete(s.unread, what) })
}

// SetService adds or replaces a Service.
func (s *State) SetService(svc *corev1.Service) {
	s.change(func() {
		name := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
		s.services[name], s.dirty[name] = svc, true
	})
}

// DeleteService removes a Service.
func (s *State) DeleteService(name types.NamespacedName) {
	s.change(func() {
		delete(s.services, name)
		s.dirty[name] = true
	})
}

// SetSlice adds or replaces a slice.
func (s *State) SetSlice(slice *discoveryv1.EndpointSlice) {
	s.change(func() {
		name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}
		s.forget(name)
		owner := ownerOf(slice)
		s.slices[name], s.dirty[owner] = slice, true
		if s.slicesOf[owner] == nil {
			s.slicesOf[owner] = map[string]*discoveryv1.EndpointSlice{}
		}
		s.slicesOf[owner][slice.Name] = slice
	})
}

// DeleteSlice removes a slice.
func (s *State) DeleteSlice(name types.NamespacedName) {
	s.change(func() { s.forget(name) })
}

// SetZone sets the node's zone, by which every Service's endpoints are chosen.
func (s *State) SetZone(zone string) {
	s.change(func() {
		s.all = s.all || s.zone != zone
		s.zone = zone
	})
}

// names lists the services or the slices that there are.
func (s *State) names(services bool) []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	if services {
		return slices.Collect(maps.Keys(s.services))
	}
	return slices.Collect(maps.Keys(s.slices))
}

func (s *State) forget(slice types.NamespacedName) {
	old := s.slices[slice]
	if old == nil {
		return
	}
	owner := ownerOf(old)
	delete(s.slices, slice)
	delete(s.slicesOf[owner], slice.Name)
	if len(s.slicesOf[owner]) == 0 {
		delete(s.slicesOf, owner)
	}
	s.dirty[owner] = true
}

func ownerOf(slice *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

func (s *State) change(edit func()) {
	s.mu.Lock()
	edit()
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default: // one is waiting already
	}
}

// Changed receives a value after the state changed. It holds at most one
// value, so that any number of changes may be handled together.
func (s *State) Changed() <-chan struct{} { return s.changed }

// Take returns what changed since the last call, or everything. complete is
// false, and nothing is taken, until all was read for the first time.
func (s *State) Take(all bool) (changes Changes, complete bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unread) > 0 {
		return Changes{}, false
	}
	changes = Changes{Services: map[types.NamespacedName]Served{}, All: all || s.all, Zone: s.zone}
	add := func(name types.NamespacedName) {
		changes.Services[name] = Served{s.services[name], slices.Collect(maps.Values(s.slicesOf[name]))}
	}
	if changes.All {
		for name := range s.services {
			add(name)
		}
	} else {
		for name := range s.dirty {
			add(name)
		}
	}
	clear(s.dirty)
	s.all = false
	return changes, true
}
