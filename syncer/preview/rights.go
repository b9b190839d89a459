package preview

import (
	"errors"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/rights"
)

// What an account may do in a plan is what it may do once the other plans of
// the answer are carried out, as far as they would be before the Kustomization
// is applied. What the Kustomization itself brings does not count: no commit can
// authorize itself, and so does a sync decide.

// grantsOf are the changes of a plan that change what accounts may do; nil
// stands for a deletion.
func grantsOf(res plan.Result) map[object.Key]object.Object {
	var grants map[object.Key]object.Object
	put := func(key object.Key, obj object.Object) {
		if grants == nil {
			grants = map[object.Key]object.Object{}
		}
		grants[key] = obj
	}
	for _, a := range res.Actions {
		switch {
		case !a.Writes():
		case rights.Concerns(a.Key):
			put(a.Key, a.Object)
		case a.Key.GroupKind == flux.Namespace && a.Type == plan.Delete:
			put(a.Key, nil)
		case a.Key.GroupKind == flux.Namespace && a.Live == nil:
			// Its controller gives every namespace this account.
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.Key.Name, Name: "default"}}
			put(object.Key{GroupKind: flux.ServiceAccount, Namespace: a.Key.Name, Name: account.Name}, account)
		}
	}
	return grants
}

// rights are those that count when a Kustomization is applied.
func (p *planning) rights(one *planned) rights.Rights {
	r := p.v.Rights
	if !r.Enforced(one.ks) {
		return r
	}
	changed := map[object.Key]object.Object{}
	for _, other := range p.order {
		if len(other.grants) > 0 && other != one && p.precedes(other, one) {
			maps.Copy(changed, other.grants)
		}
	}
	if len(changed) == 0 {
		return r
	}
	return r.After(changed)
}

// mayRefer is nil if a Kustomization may have the source that it names, and
// depend on what it names.
func (p *planning) mayRefer(r rights.Rights, one *planned) error {
	if one.deleted {
		return nil // it neither reads nor waits any more
	}
	if err := p.v.Rights.MayFollow(one.ks); err != nil {
		return err
	}
	for _, dep := range flux.Dependencies(one.ks) {
		if err := r.MayDependOn(p.ctx, one.ks, dep); err != nil {
			one.denied = true
			return err
		}
	}
	return nil
}

// authorize reports whether the account may carry out a plan. If not, the plan is
// emptied, for its actions would show what the account may not read.
func (p *planning) authorize(r rights.Rights, one *planned) bool {
	err := r.Authorize(p.ctx, one.ks, one.res)
	if gone := (*rights.ErrAccount)(nil); one.deleted && errors.As(err, &gone) {
		// Nothing is deleted then, as in a sync, and that holds nothing up.
		one.orphans = orphans(r, one.res)
		one.empty()
		return true
	}
	if err != nil {
		one.empty()
		one.denied, one.plan.Errors = true, fault.Faults(err)
	}
	return err == nil
}

// orphans are the objects that a plan cannot delete without its account, and
// that nothing else takes along.
func orphans(r rights.Rights, res plan.Result) []object.Key {
	var keys []object.Key
	for _, a := range res.Actions {
		if a.Type == plan.Delete && r.Stored.Get(a.Key) != nil {
			keys = append(keys, a.Key)
		}
	}
	return keys
}

// revoke refuses what a plan takes the rights for that was made later, and
// leaves out what would have come with it. It reports whether there was the time to
// do so.
func (p *planning) revoke() bool {
	for again := p.grants(); again; {
		again = false
		for i := 0; i < len(p.order); i++ {
			if p.ctx.Err() != nil {
				return false
			}
			one := p.order[i]
			if len(one.plan.Errors) > one.shut || len(one.orphans) > 0 || p.authorize(p.rights(one), one) {
				continue
			}
			came := func(other *planned) bool { return other.arrives && other.parent == one.plan.Kustomization }
			p.order = slices.DeleteFunc(p.order, came)
			maps.DeleteFunc(p.done, func(_ object.Key, other *planned) bool { return came(other) })
			i = slices.Index(p.order, one)
			again = true // what it granted is gone, too
		}
	}
	return true
}
