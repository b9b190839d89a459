package syncer

import (
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// A Kustomization whose dependency or parent would not apply the commit would
// not apply it either. Its plan is shown all the same: it is what follows once
// the other is mended.

// waitsFor tells what a Kustomization would wait for in vain.
func (p *planning) waitsFor(c *checklist, one *planned) {
	for i, key := range one.awaits() {
		if p.done[key] == nil && p.s.rights.Permitted(p.ctx, "get", key) != nil {
			c.add(wire.CheckWarning, "spec.dependsOn", "you may not read %s/%s: whether the Kustomization would wait for it is not known", key.Namespace, key.Name)
		} else if why := p.missing(one, i, key); why != "" {
			c.add(wire.CheckWarning, "spec.dependsOn", "%s/%s %s: the Kustomization would wait for it", key.Namespace, key.Name, why)
		}
	}
	if parent := p.heldBy(one); parent != nil && one.deleted {
		c.add(wire.CheckWarning, "parent", "%s, which would delete this one, %s: it stays", parent.plan.Kustomization, p.stalls(parent))
	} else if parent != nil {
		c.add(wire.CheckWarning, "parent", "%s, which declares this one, %s, and may change it: the Kustomization would wait for it", parent.plan.Kustomization, p.stalls(parent))
	}
}

// awaits are the dependencies that are waited for; not to be deleted.
func (one *planned) awaits() []object.Key {
	if one.deleted {
		return nil
	}
	return flux.Dependencies(one.ks)
}

// missing is why a dependency of one, the i-th, would not be what is waited for,
// or empty. Of one with a readyExpr only that counts, which nobody can tell
// before: it sees what the dependency will be.
func (p *planning) missing(one *planned, i int, key object.Key) string {
	custom := one.ks.Spec.DependsOn[i].ReadyExpr != ""
	if dep := p.done[key]; dep != nil {
		switch {
		case dep.deleted:
			return "is deleted by this commit"
		case custom:
			return ""
		}
		return p.stalls(dep)
	}
	if p.s.rights.Permitted(p.ctx, "get", key) != nil {
		return ""
	}
	switch stored := p.stored(key); {
	case stored == nil:
		return "does not exist"
	case custom:
	case !flux.IsReady(stored):
		return "is not ready"
	}
	return ""
}

// stalls is why a Kustomization would not apply the commit, or empty. It is found
// out once for each: there may be any number of ways from one to another.
func (p *planning) stalls(one *planned) string {
	if why, ok := p.stalled[one]; ok {
		return why
	}
	p.stalled[one] = "waits for itself" // if they wait for each other
	why := p.stallsNow(one)
	p.stalled[one] = why
	return why
}

func (p *planning) stallsNow(one *planned) string {
	switch {
	case len(one.plan.Errors) > 0:
		return "would be refused"
	case one.ks.Spec.Suspend && !one.deleted:
		return "is suspended"
	case slices.ContainsFunc(one.gates, func(g wire.Gate) bool { return !g.Open }):
		return "would be held by a freeze"
	case p.heldBy(one) != nil:
		return "would wait itself"
	}
	for i, key := range one.awaits() {
		if p.missing(one, i, key) != "" {
			return "would wait itself"
		}
	}
	return ""
}

// heldBy is the Kustomization that declares one in the source that both follow,
// if it would not apply the commit and does not leave one as it is: see follows.
func (p *planning) heldBy(one *planned) *planned {
	k := &kustomization{s: p.s, key: flux.KeyOf(one.ks)}
	var parent *planned
	stored := p.stored(k.key)
	ok := stored != nil
	if ok {
		if by := k.parent(stored); by != nil && !p.s.dependsOn(by, k.key) {
			parent = p.done[flux.KeyOf(by)]
		}
	} else {
		parent = p.named(one.parent)
	}
	if parent == nil || parent == one || parent.ks.Spec.Suspend || p.stalls(parent) == "" || ok && p.s.leavesAsStored(parent.items, parent.ks, k.key) {
		return nil
	}
	return parent
}

// stored is a Kustomization as it is stored; nil if there is none, or the caller
// may not read it: a plan does not depend on that.
func (p *planning) stored(key object.Key) *kustomizev1.Kustomization {
	if p.s.rights.Permitted(p.ctx, "get", key) != nil {
		return nil
	}
	ks, _ := p.s.env.Store.Get(key).(*kustomizev1.Kustomization)
	return ks
}

// named is the planned Kustomization of a name.
func (p *planning) named(name string) *planned {
	for _, one := range p.order {
		if one.ks.Namespace+"/"+one.ks.Name == name {
			return one
		}
	}
	return nil
}
