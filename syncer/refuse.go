package syncer

import (
	"context"
	"errors"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/render"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// refuse writes why a revision was not applied; everything stays as it was.
func (k *kustomization) refuse(ctx context.Context, ks *kustomizev1.Kustomization, revision string, err error, r *round) {
	now := k.s.env.Now()
	reason := fault.ReasonOf(err, meta.ReconciliationFailedReason)
	msg := flux.Bounded(err.Error())
	fresh := false
	edit := func(o object.Object) bool {
		cur, ok := o.(*kustomizev1.Kustomization)
		if !ok {
			return false
		}
		before := cur.Status.DeepCopy()
		st := &cur.Status
		set := flux.Conditions{List: &st.Conditions, Generation: ks.Generation, Now: metav1.NewTime(now)}
		if c := set.Get(meta.ReadyCondition); c == nil || c.Message != msg || c.Reason != reason || revision != "" && st.LastAttemptedRevision != revision {
			fresh = true
		}
		st.ObservedGeneration = ks.Generation
		st.LastHandledReconcileAt = ks.Annotations[meta.ReconcileRequestAnnotation]
		if revision != "" {
			st.LastAttemptedRevision = revision
		}
		if r != nil && fresh && reason != meta.DependencyNotReadyReason {
			r.snapshot(st, now, reason)
		}
		set.Put(meta.ReadyCondition, metav1.ConditionFalse, reason, msg)
		set.Put(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingWithRetryReason, msg)
		set.Drop(meta.HealthyCondition, verdict.FrozenCondition)
		if e := (*render.OverrunError)(nil); errors.As(err, &e) {
			set.Put(render.OverrunCondition, metav1.ConditionTrue, render.OverrunReason, e.Message)
		} else {
			set.Drop(render.OverrunCondition)
		}
		return !equality.Semantic.DeepEqual(before, st)
	}
	probe := ks.DeepCopy()
	if edit(probe) {
		var entry *wire.Entry
		if r != nil && fresh {
			entry = &wire.Entry{
				Type: wire.EntryRejected, Time: now, Source: flux.SourceName(ks), Kustomization: k.name(), Revision: revision,
				Commit: r.commit, Millis: r.millis, Reason: msg,
			}
		}
		tx := change.Tx{Changes: []change.Change{change.PatchStatus(k.key, edit)}}
		if _, cerr := k.s.journal.Commit(ctx, tx, entry); cerr != nil && ctx.Err() == nil {
			k.s.env.Log.Error("write the status", "kustomization", k.name(), "err", cerr)
		}
	}
	switch {
	case !fresh:
	case reason == meta.DependencyNotReadyReason:
		// Nothing is wrong with the commit: it has to wait.
		k.s.env.Log.Info("waiting", "kustomization", k.name(), "revision", revision, "reason", msg)
		k.s.env.Record(ks, corev1.EventTypeNormal, reason, msg)
	default:
		k.s.env.Log.Warn("not applied", "kustomization", k.name(), "revision", revision, "reason", reason, "err", msg)
		k.s.env.Record(ks, corev1.EventTypeWarning, reason, msg)
		k.s.env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: k.name(), Phase: "error", Revision: revision, Message: msg})
	}
	a := attempt{revision: revision, generation: ks.Generation}
	if r != nil {
		a = r.want
	}
	if reason != meta.DependencyNotReadyReason { // which passes by itself
		k.settle(a, false, fault.Faults(err))
	}
}
