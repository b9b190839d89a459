package preview

import (
	"slices"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/parents"
	"headway.dev/syncer/wire"
)

// A Kustomization whose dependency or parent would not apply the commit would
// not apply it either. Its plan is shown all the same: it is what follows once
// the other is mended.

// waits are those of an answer's Kustomizations for each other.
type waits struct {
	*planning
	// stalled remembers why one would not be applied, or that it would be.
	stalled map[*planned]string
}

// check adds to the checks what a Kustomization would wait for in vain.
func (w *waits) check(c *checklist, one *planned) {
	for i, key := range one.awaits() {
		if w.done[key] == nil && w.v.Rights.Permitted(w.ctx, "get", key) != nil {
			c.add(wire.CheckWarning, "spec.dependsOn", "you may not read %s/%s: whether the Kustomization would wait for it is not known", key.Namespace, key.Name)
		} else if why := w.missing(one, i, key); why != "" {
			c.add(wire.CheckWarning, "spec.dependsOn", "%s/%s %s: the Kustomization would wait for it", key.Namespace, key.Name, why)
		}
	}
	if parent := w.blockedBy(one); parent != nil && one.deleted {
		c.add(wire.CheckWarning, "parent", "%s, which would delete this one, %s: it stays", parent.plan.Kustomization, w.stalls(parent))
	} else if parent != nil {
		c.add(wire.CheckWarning, "parent", "%s, which declares this one, %s, and may change it: the Kustomization would wait for it", parent.plan.Kustomization, w.stalls(parent))
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
func (w *waits) missing(one *planned, i int, key object.Key) string {
	custom := one.ks.Spec.DependsOn[i].ReadyExpr != ""
	if dep := w.done[key]; dep != nil {
		switch {
		case dep.deleted:
			return "is deleted by this commit"
		case custom:
			return ""
		}
		return w.stalls(dep)
	}
	if w.v.Rights.Permitted(w.ctx, "get", key) != nil {
		return ""
	}
	switch stored := w.stored(key); {
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
func (w *waits) stalls(one *planned) string {
	if why, ok := w.stalled[one]; ok {
		return why
	}
	w.stalled[one] = "waits for itself" // if they wait for each other
	why := w.stallsNow(one)
	w.stalled[one] = why
	return why
}

func (w *waits) stallsNow(one *planned) string {
	switch {
	case len(one.plan.Errors) > 0:
		return "would be refused"
	case one.ks.Spec.Suspend && !one.deleted:
		return "is suspended"
	case slices.ContainsFunc(one.gates, func(g wire.Gate) bool { return !g.Open }):
		return "would be held by a freeze"
	case w.blockedBy(one) != nil:
		return "would wait itself"
	}
	for i, key := range one.awaits() {
		if w.missing(one, i, key) != "" {
			return "would wait itself"
		}
	}
	return ""
}

// blockedBy is the Kustomization that declares one in the source that both follow,
// if it would not apply the commit and does not leave one as it is, as a sync does.
func (w *waits) blockedBy(one *planned) *planned {
	key := flux.KeyOf(one.ks)
	var parent *planned
	stored := w.stored(key)
	ok := stored != nil
	if ok {
		if by := parents.Of(w.v.Env.Store, stored); by != nil && !parents.AwaitedBy(w.v.Env.Store, by, key) {
			parent = w.done[flux.KeyOf(by)]
		}
	} else {
		parent = w.named(one.parent)
	}
	if parent == nil || parent == one || parent.ks.Spec.Suspend || w.stalls(parent) == "" || ok && parents.LeavesAsStored(w.ctx, w.v.Env.Store, parent.items, parent.ks, key) {
		return nil
	}
	return parent
}
