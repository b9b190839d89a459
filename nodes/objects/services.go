package objects

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pod"
)

// Services keeps of all Services what environment variables need.
type Services struct {
	synced chan struct{}
	once   sync.Once
	mu     sync.Mutex
	byKey  map[string]pod.Service
}

// NewServices returns an empty store, which is filled as one of Follow.
func NewServices() *Services {
	return &Services{synced: make(chan struct{}), byKey: map[string]pod.Service{}}
}

// List returns the services, once the API has been read for the first time: a
// container created before would lack variables for good.
func (s *Services) List(ctx context.Context) ([]pod.Service, error) {
	select {
	case <-s.synced:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(10 * time.Second):
		return nil, errors.New("services have not yet been read at least once, cannot construct envvars")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]pod.Service, 0, len(s.byKey))
	for _, service := range s.byKey {
		out = append(out, service)
	}
	return out, nil
}

// Add implements cache.ReflectorStore.
func (s *Services) Add(obj any) error { s.put(obj); return nil }

// Update implements cache.ReflectorStore.
func (s *Services) Update(obj any) error { s.put(obj); return nil }

// Resync implements cache.ReflectorStore.
func (s *Services) Resync() error { return nil }

// Delete implements cache.ReflectorStore.
func (s *Services) Delete(obj any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	service := obj.(*corev1.Service)
	delete(s.byKey, service.Namespace+"/"+service.Name)
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *Services) Replace(list []any, _ string) error {
	s.mu.Lock()
	s.byKey = make(map[string]pod.Service, len(list))
	s.mu.Unlock()
	for _, obj := range list {
		s.put(obj)
	}
	s.once.Do(func() { close(s.synced) })
	return nil
}

func (s *Services) put(obj any) {
	service := obj.(*corev1.Service)
	kept := pod.Service{Namespace: service.Namespace, Name: service.Name, ClusterIP: service.Spec.ClusterIP}
	for _, p := range service.Spec.Ports {
		kept.Ports = append(kept.Ports, pod.ServicePort{Name: p.Name, Protocol: string(p.Protocol), Port: p.Port})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byKey[service.Namespace+"/"+service.Name] = kept
}
