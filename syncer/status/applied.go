package status

import (
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/verdict"
)

// Applied is what a transaction applies for a Kustomization.
type Applied struct {
	Snapshot
	Request   string // of reconcile.fluxcd.io/requestedAt, that is handled
	Newest    string // the revision that the attempt was made for
	Inventory *kustomizev1.ResourceInventory
	Before    string // what was known of the cluster before, for the verdict
	Unpruned  string // message of [flux.UnprunedCondition]; empty: nothing is kept
	Drift     bool   // the revision was applied before, and something is put back
	Hold      bool   // it is the last good commit, while the newest is in quarantine
	Heals     bool   // it is not the newest commit
	Judge     bool   // a verdict is waited for
	Judging   bool   // one was waited for already
	Waits     bool   // Ready waits for the verdict
}

// Edit notes what is applied.
func (a Applied) Edit(now time.Time) Edit {
	return func(ks *kustomizev1.Kustomization) {
		st := &ks.Status
		set := conditions(ks, ks.Generation, now)
		was := st.LastAppliedRevision
		st.ObservedGeneration = ks.Generation
		st.LastAppliedRevision = a.Revision
		st.LastHandledReconcileAt = a.Request
		if !a.Drift || st.LastAttemptedRevision == "" {
			st.LastAttemptedRevision = a.Newest
		}
		st.Inventory = a.Inventory
		msg := "Applied revision: " + a.Revision
		switch {
		case a.Hold, a.Heals && was == a.Revision, a.Drift && a.Judging:
			// What the conditions say holds on.
		case a.Judge && a.Waits:
			msg = fmt.Sprintf("Running health checks for revision %s with a timeout of %s", a.Revision, ks.GetTimeout())
			set.Put(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingReason, msg)
			set.Put(meta.ReadyCondition, metav1.ConditionUnknown, meta.ProgressingReason, msg)
			set.Put(meta.HealthyCondition, metav1.ConditionUnknown, meta.ProgressingReason, msg)
		case a.Drift && (ks.Spec.Wait || len(ks.Spec.HealthChecks) > 0):
			// Ready already: the verdict stands.
		default:
			set.Put(meta.ReadyCondition, metav1.ConditionTrue, meta.ReconciliationSucceededReason, msg)
			set.Drop(meta.ReconcilingCondition, meta.StalledCondition, meta.HealthyCondition)
		}
		if a.Judge {
			verdict.Judging(set, a.Revision, a.Before)
		}
		if !a.Heals {
			set.Drop(flux.FrozenCondition, flux.OverrunCondition)
		}
		if a.Unpruned != "" {
			set.Put(flux.UnprunedCondition, metav1.ConditionTrue, flux.PruneSkippedReason, a.Unpruned)
		} else {
			set.Drop(flux.UnprunedCondition)
		}
		if !a.Hold && (!a.Heals || was != a.Revision) {
			set.Drop(flux.QuarantinedCondition)
		}
		if was != a.Revision && (!a.Judge || !a.Waits) {
			a.record(st, now, meta.ReconciliationSucceededReason)
		}
	}
}
