package status

import (
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/verdict"
)

// Quarantined is a commit that has failed and is not tried again.
type Quarantined struct {
	flux.Quarantine
	Reason string
	Commit string
	// Newest says that it is the source's head, of which Ready tells.
	Newest bool
}

// Quarantine is the quarantine of what st says has failed, and why; pending is why
// its revert failed, if that is tried again.
func Quarantine(st verdict.State, commit, why string, pending error, newest bool) Quarantined {
	q := Quarantined{
		Quarantine: flux.Quarantine{Revision: st.Revision, Why: why, Healthy: st.Healthy},
		Reason:     meta.HealthCheckFailedReason, Commit: commit, Newest: newest,
	}
	if pending != nil {
		q.Reason, q.Pending = flux.RevertPendingReason, flux.Bounded(pending.Error())
	}
	return q
}

// Edit notes the quarantine.
func (q Quarantined) Edit(now time.Time) Edit {
	return func(ks *kustomizev1.Kustomization) {
		set := conditions(ks, ks.Generation, now)
		recorded := q.Quarantine
		recorded.Command = flux.Of(ks).Retry.Command(ks, q.Commit)
		set.Put(flux.QuarantinedCondition, metav1.ConditionTrue, q.Reason, recorded.String())
		if q.Newest {
			set.Put(meta.ReadyCondition, metav1.ConditionFalse, meta.HealthCheckFailedReason, q.String())
			set.Drop(meta.ReconcilingCondition)
		}
	}
}

// Pending is the quarantine of a commit whose revert is tried again, or nil.
func Pending(ks *kustomizev1.Kustomization) *flux.Quarantine {
	c := conditions(ks, 0, time.Time{}).Get(flux.QuarantinedCondition)
	if c == nil || c.Reason != flux.RevertPendingReason {
		return nil
	}
	q := flux.ParseQuarantine(c.Message)
	return &q
}

// PendingOver ends the tries: the quarantine stays, with a note in place of what
// the last try said.
func PendingOver(note string, now time.Time) Edit {
	return func(ks *kustomizev1.Kustomization) {
		if Pending(ks) == nil {
			return
		}
		set := conditions(ks, ks.Generation, now)
		c := set.Get(flux.QuarantinedCondition)
		set.Put(flux.QuarantinedCondition, c.Status, meta.HealthCheckFailedReason, withoutPending(c.Message, note))
		if r := set.Get(meta.ReadyCondition); r != nil && r.Status == metav1.ConditionFalse {
			set.Put(meta.ReadyCondition, r.Status, r.Reason, withoutPending(r.Message, note))
		}
	}
}

// withoutPending puts a note in place of what a message says about the tries.
func withoutPending(message, note string) string {
	q := flux.ParseQuarantine(message)
	if q.Pending == "" {
		return message
	}
	q.Why, q.Pending = q.Why+note, ""
	return q.String()
}
