package status

import (
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/verdict"
)

// Judged is a verdict on what is applied.
type Judged struct {
	Snapshot
	OK     bool
	Reason string    // why it failed
	Began  time.Time // the wait for it
	// Conditions says that Ready waits for the verdict; Newest that nothing newer
	// was refused, of which Ready then tells.
	Conditions, Newest bool
}

// Edit notes the verdict.
func (j Judged) Edit(now time.Time) Edit {
	return func(ks *kustomizev1.Kustomization) {
		set := conditions(ks, ks.Generation, now)
		verdict.Judged(set, j.Revision, j.OK)
		switch {
		case !j.Conditions:
		case j.OK:
			j.record(&ks.Status, now, meta.ReconciliationSucceededReason)
			set.Put(meta.HealthyCondition, metav1.ConditionTrue, meta.SucceededReason, "Health check passed in "+now.Sub(j.Began).Round(time.Millisecond).String())
			if j.Newest {
				set.Put(meta.ReadyCondition, metav1.ConditionTrue, meta.ReconciliationSucceededReason, "Applied revision: "+j.Revision)
				set.Drop(meta.ReconcilingCondition, meta.StalledCondition)
			}
		default:
			j.record(&ks.Status, now, meta.HealthCheckFailedReason)
			set.Put(meta.HealthyCondition, metav1.ConditionFalse, meta.HealthCheckFailedReason, j.Reason)
			if j.Newest {
				set.Put(meta.ReadyCondition, metav1.ConditionFalse, meta.HealthCheckFailedReason, j.Reason)
				set.Drop(meta.ReconcilingCondition)
			}
		}
	}
}

// Relapsed takes back the verdict on a revision that was healthy: it is judged again.
func Relapsed(revision string, now time.Time) Edit {
	return func(ks *kustomizev1.Kustomization) { verdict.Relapsed(conditions(ks, ks.Generation, now), revision) }
}
