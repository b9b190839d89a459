package dns

import (
	"context"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/nodes/dns/records"
	"headway.dev/nodes/objects"
)

func (s *Server) followServices(ctx context.Context) {
	store := &objects.Follower[*corev1.Service]{
		Set: s.zone.SetService, Drop: s.zone.DeleteService, Keep: s.zone.KeepServices, Complete: &s.services,
	}
	s.cfg.Cluster.Services.Follow(ctx, store)
}

func (s *Server) followSlices(ctx context.Context) {
	store := &objects.Follower[*discoveryv1.EndpointSlice]{
		Set: s.zone.SetSlice, Drop: s.zone.DeleteSlice, Keep: s.zone.KeepSlices, Complete: &s.slices,
	}
	s.cfg.Cluster.EndpointSlices.Follow(ctx, store)
}

// pods are those of the node, whose addresses have names.
type pods struct {
	zone *records.Zone
	mu   sync.Mutex
	// byUID are the pods that have addresses.
	byUID map[types.UID]podAddresses
}

type podAddresses struct {
	namespace string
	addrs     []netip.Addr
}

// SetPod takes up a pod of the node or its change.
func (s *Server) SetPod(p *corev1.Pod) {
	next := podAddresses{namespace: p.Namespace}
	if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
		for _, ip := range p.Status.PodIPs {
			if addr, err := netip.ParseAddr(ip.IP); err == nil {
				next.addrs = append(next.addrs, addr)
			}
		}
	}
	s.pods.set(p.UID, next)
}

// RemovePod forgets a pod of the node.
func (s *Server) RemovePod(uid types.UID) { s.pods.set(uid, podAddresses{}) }

// KeepPods forgets all pods of the node but those.
func (s *Server) KeepPods(have map[types.UID]bool) {
	s.pods.mu.Lock()
	var gone []types.UID
	for uid := range s.pods.byUID {
		if !have[uid] {
			gone = append(gone, uid)
		}
	}
	s.pods.mu.Unlock()
	for _, uid := range gone {
		s.RemovePod(uid)
	}
}

func (p *pods) set(uid types.UID, next podAddresses) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.byUID[uid]
	if len(next.addrs) > 0 {
		if p.byUID == nil {
			p.byUID = map[types.UID]podAddresses{}
		}
		p.byUID[uid] = next
	} else {
		delete(p.byUID, uid)
	}
	for _, addr := range next.addrs { // before the old ones go: most stay
		p.zone.AddPod(next.namespace, addr, 1)
	}
	for _, addr := range old.addrs {
		p.zone.AddPod(old.namespace, addr, -1)
	}
}
