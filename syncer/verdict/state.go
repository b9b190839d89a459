package verdict

import (
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// State is the content of the conditions.
type State struct {
	// Revision is the revision of the verdict; Result is healthy, failed, or
	// empty while it is judged.
	Revision, before string
	Result           wire.Verdict
	Began            time.Time
	// Healthy is the last revision that was judged healthy.
	Healthy     string
	Quarantined string
}

// Of returns the content of the conditions of a Kustomization.
func Of(ks *kustomizev1.Kustomization) State {
	var st State
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, flux.VerdictCondition); c != nil {
		st.Revision, st.before, st.Began = c.Message, c.Reason, c.LastTransitionTime.Time
		switch c.Status {
		case metav1.ConditionTrue:
			st.Result = wire.VerdictHealthy
		case metav1.ConditionFalse:
			st.Result = wire.VerdictFailed
		case metav1.ConditionUnknown:
		}
	}
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, flux.LastHealthyCondition); c != nil {
		st.Healthy = c.Message
	}
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, flux.QuarantinedCondition); c != nil {
		st.Quarantined = flux.ParseQuarantine(c.Message).Revision
	}
	return st
}

// BeforeNext returns what is known of the cluster before the next commit is
// applied on top of a revision, which it changes or not. allHealthy reports
// whether everything that is applied is healthy now, and is called last.
func (st State) BeforeNext(applied string, changes bool, allHealthy func() bool) string {
	switch {
	case applied == "":
		return flux.BeforeNothing
	case st.Revision == applied && st.Result == "" && (st.before == flux.BeforeUnhealthy || st.before == flux.BeforeNothing):
		return st.before // nor is what comes on top to blame
	case st.Revision == applied && st.Result == "" && st.before != flux.BeforeUnchanged:
		return flux.BeforeUnjudged
	case !changes:
		return flux.BeforeUnchanged
	case st.Revision == applied && st.Result == wire.VerdictFailed, !allHealthy():
		return flux.BeforeUnhealthy
	}
	return flux.BeforeHealthy
}

// Judging records in the status that a verdict is pending.
func Judging(c flux.Conditions, revision, before string) {
	if old := c.Get(flux.VerdictCondition); old != nil && old.Message == revision && old.Status == metav1.ConditionUnknown {
		return
	}
	c.Drop(flux.VerdictCondition) // or the time would be that of another revision
	c.Put(flux.VerdictCondition, metav1.ConditionUnknown, before, revision)
}

// Judged records a verdict.
func Judged(c flux.Conditions, revision string, ok bool) {
	before := flux.BeforeUnjudged
	if old := c.Get(flux.VerdictCondition); old != nil && old.Message == revision {
		before = old.Reason
	}
	if !ok {
		c.Put(flux.VerdictCondition, metav1.ConditionFalse, before, revision)
		return
	}
	c.Put(flux.VerdictCondition, metav1.ConditionTrue, before, revision)
	if old := c.Get(flux.LastHealthyCondition); old != nil && old.Message != revision {
		c.Put(flux.HealthyBeforeCondition, metav1.ConditionTrue, meta.SucceededReason, old.Message)
	}
	c.Put(flux.LastHealthyCondition, metav1.ConditionTrue, meta.SucceededReason, revision)
}

// Relapsed withdraws a good verdict: it is pending again, and the last healthy
// revision is the one before.
func Relapsed(c flux.Conditions, revision string) {
	before := flux.BeforeUnjudged
	if old := c.Get(flux.VerdictCondition); old != nil && old.Message == revision {
		before = old.Reason
	}
	c.Put(flux.VerdictCondition, metav1.ConditionUnknown, before, revision)
	if last := c.Get(flux.LastHealthyCondition); last == nil || last.Message != revision {
		return
	}
	c.Drop(flux.LastHealthyCondition)
	if earlier := c.Get(flux.HealthyBeforeCondition); earlier != nil {
		c.Put(flux.LastHealthyCondition, metav1.ConditionTrue, meta.SucceededReason, earlier.Message)
		c.Drop(flux.HealthyBeforeCondition)
	}
}
