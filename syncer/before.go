package syncer

import (
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// before is what is known of the cluster before the plan is carried out.
func (k *kustomization) before(ks *kustomizev1.Kustomization, p plan.Result) string {
	return verdict.Of(ks).BeforeNext(ks.Status.LastAppliedRevision, p.Changes(), func() bool { return k.allHealthy(ks, p) })
}

// allHealthy reports whether everything that is applied is healthy now. The plan
// has most of the live states, in the order of the inventory.
func (k *kustomization) allHealthy(ks *kustomizev1.Kustomization, p plan.Result) bool {
	planned := p.Actions
	now := k.s.env.Now()
	st := assess.Standing{Reader: k.s.env.Store, Since: now.Add(-verdict.Steady), Now: now, Steady: verdict.Steady}
	for _, key := range k.inventory.Of(ks) {
		if key == k.key {
			continue
		}
		var live object.Object
		if i := slices.IndexFunc(planned[:min(len(planned), 8)], func(a plan.Action) bool { return a.Key == key }); i >= 0 {
			live, planned = planned[i].Live, planned[i+1:]
		} else {
			live = k.s.env.Store.Get(key)
		}
		if live == nil {
			return false
		}
		if plan.LeftAlone(live) {
			continue
		}
		if res, _ := st.Of(live); res.Status != health.Current {
			return false
		}
	}
	return true
}

// restore takes up, once after the start, the verdict about what is applied.
// Who was down had no time to become healthy: there is some at least.
func (k *kustomization) restore(ks *kustomizev1.Kustomization, h source.Head) {
	const least = 2 * time.Minute
	if k.restored {
		return
	}
	k.restored = true
	st := verdict.Of(ks)
	if st.Revision != ks.Status.LastAppliedRevision || k.pending != nil {
		return
	}
	r, ok := k.revision(ks, h, st.Revision)
	if !ok {
		return
	}
	now := k.s.env.Now()
	v := k.newVerdict(ks, r, k.inventory.Of(ks))
	if st.Result == wire.VerdictHealthy {
		if v.began = st.Began; now.Before(st.Began.Add(v.patience.Probation)) {
			k.keepWatch(v, st.Began)
		}
		return
	}
	v.began, v.failed = st.Began, st.Result == wire.VerdictFailed
	v.deadline = st.Began.Add(ks.GetTimeout())
	if grace := now.Add(min(least, ks.GetTimeout())); v.deadline.Before(grace) {
		v.deadline = grace
	}
	if v.failed {
		v.deadline = now.Add(time.Hour)
	}
	k.pending = v
}
