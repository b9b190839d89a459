package syncer

import (
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/wire"
)

// A plan can be asked for by whoever may propose a commit, and what the commit
// declares decides what is read for it. So nothing of a plan may depend on what
// its caller may not read: no value, no message, no count, and not whether the
// outcome is valid. What such a commit would do is left out, and named.

// unseen reports whether nothing may be told of a stored object. What a
// Kustomization has applied that the caller may see is known by its inventory,
// unless it holds secrets: of those not even may be told that a value is right.
func (s *Syncer) unseen(o *render.Onlooker, key object.Key) bool {
	if key.GroupKind == flux.Namespace || o.Sees(key) {
		return false
	}
	owner, ok := s.owners.Of(key)
	if !ok || !o.Sees(owner) || key.GroupKind == flux.Secret {
		return true
	}
	live := s.env.Store.Get(key)
	if live == nil {
		return false
	}
	paths, all := diff.Hidden(live)
	return all || len(paths) > 0
}

// restrict has a plan tell nothing but what its caller may know.
func (k *kustomization) restrict(in *plan.Input) {
	o := k.onlooker
	if !o.Outside() || k.s.cfg.Access == nil {
		return // it comes from this process
	}
	seen := map[object.Key]bool{}
	in.Unseen = func(key object.Key) bool {
		unseen, known := seen[key]
		if !known {
			unseen = k.s.unseen(o, key)
			seen[key] = unseen
		}
		return unseen
	}
	in.Before = k.s.lastDeclared(k.key)
	// A generated name ends in a hash of what was not read.
	in.Inventory = slices.DeleteFunc(slices.Clone(in.Inventory), func(key object.Key) bool {
		return slices.ContainsFunc(in.Items, func(it load.Item) bool {
			is, err := plan.KeyOf(it.Object)
			return err == nil && it.LeftOut() != "" && is.GroupKind == key.GroupKind && is.Namespace == key.Namespace && load.SameButHash(is.Name, key.Name)
		})
	})
}

// lastDeclared are the objects that a Kustomization applied last, as Git declared
// them.
func (s *Syncer) lastDeclared(key object.Key) map[object.Key]object.Object {
	s.mu.Lock()
	k := s.kustomizations[key]
	s.mu.Unlock()
	if k == nil {
		return nil
	}
	k.mu.Lock()
	items := k.built.Items
	k.mu.Unlock()
	objects := make(map[object.Key]object.Object, len(items))
	for _, it := range items {
		if key, err := plan.KeyOf(it.Object); err == nil {
			objects[key] = it.Object
		}
	}
	return objects
}

// known is a Kustomization that a commit declares, with the status that it has
// and not with the one that the commit says it had: what is in an inventory is
// read. Of one that the caller may not see nothing is known.
func (p *planning) known(child *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	ks := child.DeepCopy()
	ks.Status = kustomizev1.KustomizationStatus{}
	if stored := p.stored(flux.KeyOf(child)); stored != nil {
		ks.Status = *stored.Status.DeepCopy()
	}
	return ks
}

// unreadCheck names the Secrets that a plan was made without.
func unreadCheck(c *checklist, one *planned) {
	if len(one.unread) > 0 {
		c.add(wire.CheckWarning, "secrets", "you may not read %s: what depends on it is left out of this plan, and is neither compared nor validated", someKeys(one.unread))
	}
}
