package status

import (
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
)

// Refused is why a revision is not applied; everything stays as it was.
type Refused struct {
	Snapshot             // its Revision is empty if there is none
	Built           bool // an attempt had begun
	Reason, Message string
	Generation      int64  // of the Kustomization that was refused
	Request         string // of reconcile.fluxcd.io/requestedAt, that is handled
	overrun         *flux.Overrun
}

// Refuse is the refusal of ks for an error.
func Refuse(ks *kustomizev1.Kustomization, err error, snapshot Snapshot, built bool) Refused {
	r := Refused{
		Snapshot: snapshot, Built: built, Reason: fault.ReasonOf(err, meta.ReconciliationFailedReason), Message: flux.Bounded(err.Error()),
		Generation: ks.Generation, Request: flux.Of(ks).Request.Value,
	}
	errors.As(err, &r.overrun)
	return r
}

// Fresh reports whether the status of ks does not tell this refusal yet.
func (r Refused) Fresh(ks *kustomizev1.Kustomization) bool {
	c := conditions(ks, 0, time.Time{}).Get(meta.ReadyCondition)
	return c == nil || c.Message != r.Message || c.Reason != r.Reason || r.Revision != "" && ks.Status.LastAttemptedRevision != r.Revision
}

// Waits reports whether nothing is wrong: it waits for a dependency.
func (r Refused) Waits() bool { return r.Reason == meta.DependencyNotReadyReason }

// Edit notes the refusal.
func (r Refused) Edit(now time.Time) Edit {
	return func(ks *kustomizev1.Kustomization) {
		st := &ks.Status
		set := conditions(ks, r.Generation, now)
		fresh := r.Fresh(ks)
		st.ObservedGeneration = r.Generation
		st.LastHandledReconcileAt = r.Request
		if r.Revision != "" {
			st.LastAttemptedRevision = r.Revision
		}
		if r.Built && fresh && !r.Waits() {
			r.record(st, now, r.Reason)
		}
		set.Put(meta.ReadyCondition, metav1.ConditionFalse, r.Reason, r.Message)
		set.Put(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingWithRetryReason, r.Message)
		set.Drop(meta.HealthyCondition, flux.FrozenCondition)
		if r.overrun != nil {
			set.Put(flux.OverrunCondition, metav1.ConditionTrue, flux.OverrunReason, r.overrun.Error())
		} else {
			set.Drop(flux.OverrunCondition)
		}
	}
}

// Frozen is a commit that waits for the end of a freeze.
type Frozen struct {
	Revision, Message string
	Generation        int64
	Request           string
}

// Freeze is the wait of ks for the end of the freeze that err tells of.
func Freeze(ks *kustomizev1.Kustomization, revision string, err error) Frozen {
	return Frozen{
		Revision: revision, Message: flux.Bounded(fmt.Sprintf("%v; %s waits", err, revision)),
		Generation: ks.Generation, Request: flux.Of(ks).Request.Value,
	}
}

// Fresh reports whether the status of ks does not tell it yet.
func (f Frozen) Fresh(ks *kustomizev1.Kustomization) bool {
	c := conditions(ks, 0, time.Time{}).Get(flux.FrozenCondition)
	return c == nil || c.Message != f.Message
}

// Edit notes that the commit waits.
func (f Frozen) Edit(now time.Time) Edit {
	return func(ks *kustomizev1.Kustomization) {
		st := &ks.Status
		set := conditions(ks, f.Generation, now)
		st.LastAttemptedRevision = f.Revision
		st.LastHandledReconcileAt = f.Request
		set.Put(flux.FrozenCondition, metav1.ConditionTrue, flux.FrozenReason, f.Message)
		if st.LastAppliedRevision == "" {
			set.Put(meta.ReadyCondition, metav1.ConditionFalse, flux.FrozenReason, f.Message)
		} else if c := set.Get(meta.ReadyCondition); c != nil && c.Status == metav1.ConditionFalse && c.Reason != meta.HealthCheckFailedReason {
			// A refused commit is no longer the newest.
			set.Put(meta.ReadyCondition, metav1.ConditionTrue, meta.ReconciliationSucceededReason, "Applied revision: "+st.LastAppliedRevision)
			set.Drop(meta.ReconcilingCondition)
		}
	}
}
