package verdict

import (
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/flux"
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
	// QuarantinedCondition holds while the newest commit has failed and is not
	// tried again. Its message begins with its revision and a colon.
	QuarantinedCondition = "headway.dev/Quarantined"
	// FrozenCondition holds while a commit waits for the end of a freeze.
	FrozenCondition = "headway.dev/Frozen"
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
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, verdictCondition); c != nil {
		st.Revision, st.before, st.Began = c.Message, c.Reason, c.LastTransitionTime.Time
		switch c.Status {
		case metav1.ConditionTrue:
			st.Result = wire.VerdictHealthy
		case metav1.ConditionFalse:
			st.Result = wire.VerdictFailed
		case metav1.ConditionUnknown:
		}
	}
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, healthyCondition); c != nil {
		st.Healthy = c.Message
	}
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, QuarantinedCondition); c != nil {
		st.Quarantined = QuarantinedRevision(c.Message)
	}
	return st
}

// BeforeNext returns what is known of the cluster before the next commit is
// applied on top of a revision, which it changes or not. allHealthy reports
// whether everything that is applied is healthy now, and is called last.
func (st State) BeforeNext(applied string, changes bool, allHealthy func() bool) string {
	switch {
	case applied == "":
		return beforeNothing
	case st.Revision == applied && st.Result == "" && (st.before == beforeUnhealthy || st.before == beforeNothing):
		return st.before // nor is what comes on top to blame
	case st.Revision == applied && st.Result == "" && st.before != beforeUnchanged:
		return beforeUnjudged
	case !changes:
		return beforeUnchanged
	case st.Revision == applied && st.Result == wire.VerdictFailed, !allHealthy():
		return beforeUnhealthy
	}
	return beforeHealthy
}

// Judging records in the status that a verdict is pending.
func Judging(c flux.Conditions, revision, before string) {
	if old := c.Get(verdictCondition); old != nil && old.Message == revision && old.Status == metav1.ConditionUnknown {
		return
	}
	c.Drop(verdictCondition) // or the time would be that of another revision
	c.Put(verdictCondition, metav1.ConditionUnknown, before, revision)
}

// Judged records a verdict.
func Judged(c flux.Conditions, revision string, ok bool) {
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

// Relapsed withdraws a good verdict: it is pending again, and the last healthy
// revision is the one before.
func Relapsed(c flux.Conditions, revision string) {
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

// QuarantinedRevision is the revision in a condition's message.
func QuarantinedRevision(message string) string {
	revision, _, _ := strings.Cut(message, ": ")
	return revision
}
