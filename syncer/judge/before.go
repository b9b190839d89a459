package judge

import (
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/git"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// Before is what is known of the cluster before the plan is carried out.
func (j *Judge) Before(ks *kustomizev1.Kustomization, inventory []object.Key, p plan.Result) string {
	return verdict.Of(ks).BeforeNext(ks.Status.LastAppliedRevision, p.Changes(), func() bool { return j.allHealthy(inventory, p) })
}

// allHealthy reports whether everything that is applied is healthy now. The plan
// has most of the live states, in the order of the inventory.
func (j *Judge) allHealthy(inventory []object.Key, p plan.Result) bool {
	actions := p.Actions
	now := j.Env.Now()
	st := assess.Standing{Reader: j.Env.Store, Since: now.Add(-verdict.Steady), Now: now, Steady: verdict.Steady}
	for _, key := range inventory {
		if key == j.Key {
			continue
		}
		var live object.Object
		if i := slices.IndexFunc(actions[:min(len(actions), 8)], func(a plan.Action) bool { return a.Key == key }); i >= 0 {
			live, actions = actions[i].Live, actions[i+1:]
		} else {
			live = j.Env.Store.Get(key)
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

// Restore takes up, once after the start, the verdict about what is applied.
// Who was down had no time to become healthy: there is some at least.
func (j *Judge) Restore(ks *kustomizev1.Kustomization, h source.Head, inventory []object.Key) {
	const least = 2 * time.Minute
	if j.restored {
		return
	}
	j.restored = true
	st := verdict.Of(ks)
	if st.Revision != ks.Status.LastAppliedRevision || j.pending != nil {
		return
	}
	subject, ok := appliedBefore(ks, h, st.Revision)
	if !ok {
		return
	}
	subject.Inventory = inventory
	now := j.Env.Now()
	v := j.newTrial(ks, subject)
	if st.Result == wire.VerdictHealthy {
		if v.began = st.Began; now.Before(st.Began.Add(v.patience.Probation)) {
			j.keepWatch(v, st.Began)
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
	j.pending = v
}

// appliedBefore is a revision that was applied before the start.
func appliedBefore(ks *kustomizev1.Kustomization, h source.Head, revision string) (Subject, bool) {
	at, ok := git.ParseRevision(revision)
	if !ok {
		return Subject{}, false
	}
	h = h.At(at)
	subject := Subject{Head: h, Want: step.Attempt{Revision: revision, Generation: ks.Generation}}
	if c, err := h.About(); err == nil {
		subject.Commit = c
	}
	return subject, true
}
