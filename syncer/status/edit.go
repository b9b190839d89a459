package status

import (
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

// Edit changes the status of a Kustomization.
type Edit func(ks *kustomizev1.Kustomization)

// Change is the edit as part of a transaction, which writes nothing if the status
// is like that already.
func (e Edit) Change(key object.Key) change.Change {
	return change.PatchStatus(key, func(o object.Object) bool {
		ks, ok := o.(*kustomizev1.Kustomization)
		return ok && e.apply(ks)
	})
}

// Changes reports whether the edit changes the status of ks, which is left as it is.
func (e Edit) Changes(ks *kustomizev1.Kustomization) bool { return e.apply(ks.DeepCopy()) }

func (e Edit) apply(ks *kustomizev1.Kustomization) bool {
	before := ks.Status.DeepCopy()
	e(ks)
	return !flux.SameStatus(before, &ks.Status)
}

// conditions are those of ks; generation is the one that they are about.
func conditions(ks *kustomizev1.Kustomization, generation int64, now time.Time) flux.Conditions {
	return flux.Conditions{List: &ks.Status.Conditions, Generation: generation, Now: metav1.NewTime(now)}
}

// Snapshot is what status.history says of one attempt to apply a revision: Flux's
// record of what was reconciled, when, how long it took and what came of it.
type Snapshot struct {
	// Resources identifies what was rendered; empty: it was not, or before a
	// restart, and there is nothing to record.
	Resources string
	Revision  string
	Began     time.Time
}

func (s Snapshot) record(st *kustomizev1.KustomizationStatus, now time.Time, reason string) {
	if s.Resources == "" {
		return
	}
	st.History.Upsert(s.Resources, now, now.Sub(s.Began), reason, map[string]string{"revision": s.Revision})
}
