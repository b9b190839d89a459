package status

import (
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/verdict"
)

const (
	// RevertPending is the reason of a quarantine during which the revert of
	// the commit is tried again and again. It is part of the status, so that a
	// restart goes on with it.
	RevertPending = "RevertPending"
	// pendingText stands in the quarantine's message between why the commit
	// failed and why it is not reverted yet; pendingEnd ends that.
	pendingText = "; its revert failed and is tried again: "
	pendingEnd  = " (with back-off)"
)

// Quarantined is a commit that has failed and is not tried again.
type Quarantined struct {
	Reason, Message string
	Commit          string
	// Newest says that it is the source's head, of which Ready tells.
	Newest bool
}

// Quarantine is the quarantine of what st says has failed, and why.
func Quarantine(st verdict.State, commit, reason, why string, newest bool) Quarantined {
	return Quarantined{
		Reason: reason, Commit: commit, Newest: newest,
		Message: fmt.Sprintf("%s: %s; %s stays applied until a newer commit comes", st.Revision, why, st.Healthy),
	}
}

// Edit notes the quarantine.
func (q Quarantined) Edit(now time.Time) Edit {
	return func(ks *kustomizev1.Kustomization) {
		set := conditions(ks, ks.Generation, now)
		set.Put(verdict.QuarantinedCondition, metav1.ConditionTrue, q.Reason, q.Message+
			"; to try this one again run: "+flux.Of(ks).Retry.Command(ks, q.Commit))
		if q.Newest {
			set.Put(meta.ReadyCondition, metav1.ConditionFalse, meta.HealthCheckFailedReason, q.Message)
			set.Drop(meta.ReconcilingCondition)
		}
	}
}

// WithPending adds to why a commit failed that its revert did, and is tried again.
func WithPending(why string, err error) string {
	return why + pendingText + flux.Bounded(err.Error()) + pendingEnd
}

// Pending is the quarantine of a commit whose revert is tried again, or nil.
func Pending(ks *kustomizev1.Kustomization) *metav1.Condition {
	c := conditions(ks, 0, time.Time{}).Get(verdict.QuarantinedCondition)
	if c == nil || c.Reason != RevertPending {
		return nil
	}
	return c
}

// PendingOver ends the tries: the quarantine stays, with a note in place of what
// the last try said.
func PendingOver(note string, now time.Time) Edit {
	return func(ks *kustomizev1.Kustomization) {
		c := Pending(ks)
		if c == nil {
			return
		}
		set := conditions(ks, ks.Generation, now)
		set.Put(verdict.QuarantinedCondition, c.Status, meta.HealthCheckFailedReason, withoutPending(c.Message, note))
		if r := set.Get(meta.ReadyCondition); r != nil && r.Status == metav1.ConditionFalse {
			set.Put(meta.ReadyCondition, r.Status, r.Reason, withoutPending(r.Message, note))
		}
	}
}

// FailureIn is why the commit failed, in a quarantine's message.
func FailureIn(message string) string {
	_, rest, _ := strings.Cut(message, ": ")
	why, _, _ := strings.Cut(rest, pendingText)
	return why
}

// withoutPending puts a note in place of what a message says about the tries,
// which ends before what stays applied.
func withoutPending(message, note string) string {
	before, rest, ok := strings.Cut(message, pendingText)
	if !ok {
		return message
	}
	end := strings.LastIndex(rest, pendingEnd)
	if end < 0 {
		return before + note
	}
	return before + note + rest[end+len(pendingEnd):]
}
