package syncer

import (
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// Headway's own conditions of a Kustomization. They are written in the
// transactions that they are about, and are what a restart takes up.
const (
	// verdictCondition is about the commit that is applied: Unknown while it is
	// judged, since then; True if it became healthy, False if it failed. Its
	// reason is one of the before constants, its message the revision.
	verdictCondition = "headway.dev/Verdict"
	// healthyCondition's message is the revision that was judged healthy last.
	healthyCondition = "headway.dev/LastHealthy"
	// earlierCondition's message is the revision that was judged healthy last
	// before that one.
	earlierCondition = "headway.dev/HealthyBefore"
	// quarantinedCondition holds while the newest commit has failed and is not
	// tried again. Its message begins with its revision and a colon.
	quarantinedCondition = "headway.dev/Quarantined"
	// frozenCondition holds while a commit waits for the end of a freeze.
	frozenCondition = "headway.dev/Frozen"
)

// What was known of the cluster before a commit was applied, which decides
// whether the commit can be blamed for what fails.
const (
	beforeNothing   = "FirstCommit"
	beforeUnchanged = "NothingChanged" // by the commit
	beforeHealthy   = "HealthyBefore"
	beforeUnhealthy = "UnhealthyBefore"
	beforeUnjudged  = "NotJudgedBefore"
)

// state is what the conditions say.
type state struct {
	// revision is the one that has the verdict; result is healthy, failed,
	// or empty while it is judged.
	revision, result, before string
	began                    time.Time
	// healthy is the revision that was judged healthy last.
	healthy     string
	quarantined string
}

func stateOf(ks *kustomizev1.Kustomization) state {
	var st state
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, verdictCondition); c != nil {
		st.revision, st.before, st.began = c.Message, c.Reason, c.LastTransitionTime.Time
		switch c.Status {
		case metav1.ConditionTrue:
			st.result = wire.VerdictHealthy
		case metav1.ConditionFalse:
			st.result = wire.VerdictFailed
		case metav1.ConditionUnknown:
		}
	}
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, healthyCondition); c != nil {
		st.healthy = c.Message
	}
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, quarantinedCondition); c != nil {
		st.quarantined = quarantinedRevision(c.Message)
	}
	return st
}

// before is what is known of the cluster before the plan is carried out.
func (k *kustomization) before(ks *kustomizev1.Kustomization, p plan.Result) string {
	st := stateOf(ks)
	switch {
	case ks.Status.LastAppliedRevision == "":
		return beforeNothing
	case st.revision == ks.Status.LastAppliedRevision && st.result == "" && (st.before == beforeUnhealthy || st.before == beforeNothing):
		return st.before // nor is what comes on top to blame
	case st.revision == ks.Status.LastAppliedRevision && st.result == "" && st.before != beforeUnchanged:
		return beforeUnjudged
	case !p.Changes():
		return beforeUnchanged
	case st.revision == ks.Status.LastAppliedRevision && st.result == wire.VerdictFailed, !k.allHealthy(ks, p):
		return beforeUnhealthy
	}
	return beforeHealthy
}

// allHealthy reports whether everything that is applied is healthy now. The plan
// has most of the live states, in the order of the inventory.
func (k *kustomization) allHealthy(ks *kustomizev1.Kustomization, p plan.Result) bool {
	planned := p.Actions
	now := k.s.env.Now()
	st := assess.Standing{Reader: k.s.env.Store, Since: now.Add(-steady), Now: now, Steady: steady}
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

// judging notes in the status that a verdict is waited for.
func judging(c flux.Conditions, revision, before string) {
	if old := c.Get(verdictCondition); old != nil && old.Message == revision && old.Status == metav1.ConditionUnknown {
		return
	}
	c.Drop(verdictCondition) // or the time would be that of another revision
	c.Put(verdictCondition, metav1.ConditionUnknown, before, revision)
}

// judged notes a verdict.
func judged(c flux.Conditions, revision string, ok bool) {
	before := beforeUnjudged
	if old := c.Get(verdictCondition); old != nil && old.Message == revision {
		before = old.Reason
	}
	if !ok {
		c.Put(verdictCondition, metav1.ConditionFalse, before, revision)
		return
	}
	c.Put(verdictCondition, metav1.ConditionTrue, before, revision)
	if old := c.Get(healthyCondition); old != nil && old.Message != revision {
		c.Put(earlierCondition, metav1.ConditionTrue, meta.SucceededReason, old.Message)
	}
	c.Put(healthyCondition, metav1.ConditionTrue, meta.SucceededReason, revision)
}

// relapsed takes a good verdict back: it is waited for again, and what was
// healthy last is the revision before.
func relapsed(c flux.Conditions, revision string) {
	before := beforeUnjudged
	if old := c.Get(verdictCondition); old != nil && old.Message == revision {
		before = old.Reason
	}
	c.Put(verdictCondition, metav1.ConditionUnknown, before, revision)
	if last := c.Get(healthyCondition); last == nil || last.Message != revision {
		return
	}
	c.Drop(healthyCondition)
	if earlier := c.Get(earlierCondition); earlier != nil {
		c.Put(healthyCondition, metav1.ConditionTrue, meta.SucceededReason, earlier.Message)
		c.Drop(earlierCondition)
	}
}

// restore takes up, once after the start, the verdict about what is applied.
// Who was down had no time to become healthy: there is some at least.
func (k *kustomization) restore(ks *kustomizev1.Kustomization, h source.Head) {
	const least = 2 * time.Minute
	if k.restored {
		return
	}
	k.restored = true
	st := stateOf(ks)
	if st.revision != ks.Status.LastAppliedRevision || k.pending != nil {
		return
	}
	r, ok := k.revision(ks, h, st.revision)
	if !ok {
		return
	}
	now := k.s.env.Now()
	v := k.newVerdict(ks, r, k.inventory.Of(ks))
	if st.result == wire.VerdictHealthy {
		if v.began = st.began; now.Before(st.began.Add(v.patience.probation)) {
			k.keepWatch(v, st.began)
		}
		return
	}
	v.began, v.failed = st.began, st.result == wire.VerdictFailed
	v.deadline = st.began.Add(ks.GetTimeout())
	if grace := now.Add(min(least, ks.GetTimeout())); v.deadline.Before(grace) {
		v.deadline = grace
	}
	if v.failed {
		v.deadline = now.Add(time.Hour)
	}
	k.pending = v
}
