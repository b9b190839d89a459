package store

import "k8s.io/apimachinery/pkg/runtime/schema"

// Topics is how many topics of a kind are followed.
func (s *Store) Topics(kind schema.GroupKind) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.histories[kind].topics)
}
