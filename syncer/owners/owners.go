package owners

import (
	"maps"
	"slices"
	"sync"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
)

// Holder is one loop of a Kustomization, from its start to its end. A later one
// of the same Kustomization is another.
type Holder struct {
	key     object.Key
	claimed []object.Key // guarded by the index
	// lost are objects that another holder has taken over; guarded by the index.
	lost map[object.Key]bool
}

// NewHolder returns the holder of a Kustomization's loop, which has nothing
// yet.
func NewHolder(kustomization object.Key) *Holder {
	return &Holder{key: kustomization, lost: map[object.Key]bool{}}
}

// Index knows which Kustomization has an object in its inventory. It is safe
// for concurrent use.
type Index struct {
	stored object.Reader
	mu     sync.Mutex
	byKey  map[object.Key]*Holder
}

// New returns an empty index of what is stored.
func New(stored object.Reader) *Index {
	return &Index{stored: stored, byKey: map[object.Key]*Holder{}}
}

// Of returns the Kustomization that has an object.
func (x *Index) Of(key object.Key) (kustomization object.Key, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if h := x.byKey[key]; h != nil {
		return h.key, true
	}
	return object.Key{}, false
}

// Keys are the objects that Kustomizations have at the moment of the call.
func (x *Index) Keys() []object.Key {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.byKey))
}

// ByOther looks up which Kustomization other than self has an object.
func (x *Index) ByOther(self object.Key) func(object.Key) (plan.Owner, bool) {
	return func(key object.Key) (plan.Owner, bool) {
		other, ok := x.Of(key)
		if !ok || other == self {
			return plan.Owner{}, false
		}
		return OwnerOf(other), true
	}
}

// Claim makes an inventory the holder's, and gives up what the holder no longer
// has. It returns what the holder did not have before.
func (x *Index) Claim(h *Holder, inventory []object.Key) (fresh []object.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.release(h, inventory)
	for _, key := range inventory {
		// What moved to another stays in the inventory until it is looked at. The
		// loop of the same Kustomization from before has no claim any more.
		if other := x.byKey[key]; other != h && (other == nil || other.key == h.key || !x.Owns(other.key, key)) {
			x.byKey[key] = h
			fresh = append(fresh, key)
			if other != nil && other.key != h.key {
				other.lost[key] = true
			}
		}
		if x.byKey[key] == h && x.Owns(h.key, key) {
			delete(h.lost, key)
		}
	}
	return fresh
}

// Lost reports whether another holder has taken an object over, and this one has
// not had it since.
func (x *Index) Lost(h *Holder, key object.Key) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return h.lost[key]
}

// Settle forgets what others have taken over: the holder has applied the newest
// commit, which does not declare it.
func (x *Index) Settle(h *Holder) {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(h.lost)
}

// Release gives up what a holder no longer has.
func (x *Index) Release(h *Holder, inventory []object.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.release(h, inventory)
}

func (x *Index) release(h *Holder, inventory []object.Key) {
	if slices.Equal(h.claimed, inventory) {
		return
	}
	still := make(map[object.Key]bool, len(inventory))
	for _, key := range inventory {
		still[key] = true
	}
	for _, key := range h.claimed {
		if x.byKey[key] == h && !still[key] {
			delete(x.byKey, key)
		}
	}
	h.claimed = slices.Clone(inventory)
}

// Former returns the Kustomizations that still have objects that are now the
// holder's, with these objects.
func (x *Index) Former(h *Holder, inventory []object.Key) map[object.Key][]object.Key {
	x.mu.Lock()
	defer x.mu.Unlock()
	former := map[object.Key][]object.Key{}
	for _, key := range inventory {
		if other := x.byKey[key]; other != nil && other != h && x.Owns(h.key, key) {
			former[other.key] = append(former[other.key], key)
		}
	}
	return former
}

// Owns reports whether an object's labels name the Kustomization.
func (x *Index) Owns(kustomization, key object.Key) bool {
	obj := x.stored.Get(key)
	if obj == nil {
		return false
	}
	owner, ok := plan.OwnerOf(obj)
	return ok && owner == OwnerOf(kustomization)
}

// OwnerOf returns a Kustomization as the labels of its objects name it.
func OwnerOf(kustomization object.Key) plan.Owner {
	return plan.Owner{Namespace: kustomization.Namespace, Name: kustomization.Name}
}

// KeyOf returns the key of an owner.
func KeyOf(o plan.Owner) object.Key {
	return object.Key{GroupKind: flux.Kustomization, Namespace: o.Namespace, Name: o.Name}
}
