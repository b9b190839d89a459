package admit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/object"
)

// claims knows which Service may hold a resource. A claim counts only if the
// Service of the transaction's view holds the resource indeed: the Service may
// have gone earlier in the transaction, or never have been committed.
type claims[R comparable] struct {
	held func(*corev1.Service) []R
	// committed are the holders in the newest committed state.
	committed map[R][]object.Key
	// pending are the claims of transactions since then, some of which may
	// have failed.
	pending map[R][]object.Key
}

func newClaims[R comparable](held func(*corev1.Service) []R) *claims[R] {
	return &claims[R]{held: held, committed: map[R][]object.Key{}, pending: map[R][]object.Key{}}
}

// free reports whether nobody but key holds the resource in view.
func (c *claims[R]) free(view object.Reader, key object.Key, resource R) bool {
	for _, claimed := range [2]map[R][]object.Key{c.committed, c.pending} {
		for _, other := range claimed[resource] {
			if other == key {
				continue
			}
			svc, ok := view.Get(other).(*corev1.Service)
			if ok && slices.Contains(c.held(svc), resource) {
				return false
			}
		}
	}
	return true
}

// claim notes what svc will hold if its transaction is committed.
func (c *claims[R]) claim(key object.Key, svc *corev1.Service) {
	for _, r := range c.held(svc) {
		if !slices.Contains(c.pending[r], key) {
			c.pending[r] = append(c.pending[r], key)
		}
	}
}

// commit notes a committed change from old to now; either may be nil.
func (c *claims[R]) commit(key object.Key, old, now *corev1.Service) {
	if old != nil {
		for _, r := range c.held(old) {
			left := slices.DeleteFunc(c.committed[r], func(k object.Key) bool { return k == key })
			if len(left) == 0 {
				delete(c.committed, r)
			} else {
				c.committed[r] = left
			}
		}
	}
	if now != nil {
		for _, r := range c.held(now) {
			if !slices.Contains(c.committed[r], key) {
				c.committed[r] = append(c.committed[r], key)
			}
		}
	}
}

func (c *claims[R]) reset() { clear(c.pending) }
