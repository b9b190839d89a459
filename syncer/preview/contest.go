package preview

import (
	"cmp"
	"slices"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
)

// Of several Kustomizations that one commit has declare the same object, and of
// which none has it yet, the first that is applied gets it, and the others are
// refused: see group.write.

// contend refuses those plans that write what another gets.
func (p *planning) contend() {
	taken := map[object.Key]*planned{}
	for _, one := range p.inTurn() {
		if one.deleted || one.ks.Spec.Suspend || len(one.plan.Errors) > 0 {
			continue
		}
		var lost []*plan.Error
		for _, a := range one.res.Actions {
			if first := taken[a.Key]; first != nil && a.Object != nil {
				lost = append(lost, &plan.Error{Source: a.Source, Key: a.Key, Reason: plan.ManagedBy(first.plan.Kustomization)})
			}
		}
		if len(lost) == 0 {
			for _, a := range one.res.Actions {
				if a.Object != nil {
					taken[a.Key] = one
				}
			}
			continue
		}
		one.res.Actions = slices.DeleteFunc(one.res.Actions, func(a plan.Action) bool { return taken[a.Key] != nil && a.Object != nil })
		one.res.Errors = append(one.res.Errors, lost...)
		one.show()
		one.plan.Errors = append(fault.Faults(&fault.Invalid{Errs: lost}), one.plan.Errors...)
	}
}

// inTurn are the plans in the order in which they would be carried out: those
// that can be in the transaction for the commit as a group plans them, parents
// before their children and stored ones before new ones, and then the others.
func (p *planning) inTurn() []*planned {
	type turn struct{ late, depth, fresh int }
	turns := map[*planned]turn{}
	var turnOf func(one *planned) turn
	turnOf = func(one *planned) turn {
		if t, ok := turns[one]; ok {
			return t
		}
		var t turn
		turns[one] = t // if they are each other's parents
		if p.late(one) {
			t.late = 1
		}
		if p.stored(flux.KeyOf(one.ks)) == nil {
			t.fresh = 1
		}
		if parent := p.named(one.parent); parent != nil {
			up := turnOf(parent)
			t.late, t.depth = max(t.late, up.late), up.depth+1
		}
		turns[one] = t
		return t
	}
	for _, one := range p.order {
		turnOf(one)
	}
	// Those that wait for others come after them.
	before := slices.Clone(p.order)
	p.sort()
	sorted := p.order
	p.order = before
	slices.SortStableFunc(sorted, func(a, b *planned) int {
		ta, tb := turns[a], turns[b]
		if ta.late+tb.late == 2 {
			return 0
		}
		return cmp.Or(cmp.Compare(ta.late, tb.late), cmp.Compare(ta.depth, tb.depth), cmp.Compare(ta.fresh, tb.fresh))
	})
	return sorted
}

// late reports whether a Kustomization is applied after the transaction for the
// commit: see ADR 55.
func (p *planning) late(one *planned) bool {
	for _, dep := range flux.Dependencies(one.ks) {
		if p.done[dep] != nil {
			return true
		}
	}
	if gate.Shut(one.gates) != nil {
		return true
	}
	reads, acts := render.ReadsFrom(one.ks), p.v.Rights.Account(one.ks) != ""
	if len(reads) == 0 && !acts {
		return false
	}
	return slices.ContainsFunc(p.order, func(other *planned) bool {
		return other != one && slices.ContainsFunc(other.res.Actions, func(a plan.Action) bool {
			return a.Writes() && (slices.Contains(reads, a.Key) || acts && rights.Concerns(a.Key))
		})
	})
}
