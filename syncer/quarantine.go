package syncer

import (
	"context"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/git"
	"headway.dev/syncer/source"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// quarantined reports whether the commit has failed and is not to be tried again.
func (k *kustomization) quarantined(ks *kustomizev1.Kustomization, h source.Head) bool {
	q, ok := git.ParseRevision(verdict.Of(ks).Quarantined)
	return ok && q.Commit == h.Commit && !flux.Names(ks.Annotations[flux.Retry], h.Commit)
}

// forget removes the annotation that was heeded by the round.
func (k *kustomization) forget(ks *kustomizev1.Kustomization, r *round) []change.Change {
	if r.hold || !flux.Names(ks.Annotations[flux.Retry], r.head.Commit) {
		return nil
	}
	return []change.Change{change.Patch(k.key, func(o object.Object) bool { return flux.DropAnnotation(o, flux.Retry) })}
}

// hold goes back to the commit that was healthy last.
func (k *kustomization) hold(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head) {
	good, ok := git.ParseRevision(verdict.Of(ks).Healthy)
	if !ok {
		return
	}
	h.Head = good
	k.apply(ctx, ks, h, true)
}

// quarantine remembers that the applied commit has failed, and goes back to
// the last good one; reason is the condition's. The first is durable before the second begins, so that a
// restart between them goes on with it.
func (k *kustomization) quarantine(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head, reason, why string) {
	st := verdict.Of(ks)
	msg := fmt.Sprintf("%s: %s; %s stays applied until a newer commit comes", st.Revision, why, st.Healthy)
	now := metav1.NewTime(k.s.env.Now())
	bad, _ := git.ParseRevision(st.Revision)
	tx := change.Tx{Changes: []change.Change{change.PatchStatus(k.key, func(o object.Object) bool {
		cur, ok := o.(*kustomizev1.Kustomization)
		if !ok {
			return false
		}
		before := cur.Status.DeepCopy()
		set := flux.Conditions{List: &cur.Status.Conditions, Generation: cur.Generation, Now: now}
		set.Put(verdict.QuarantinedCondition, metav1.ConditionTrue, reason, msg+
			fmt.Sprintf("; to try this one again run: kubectl annotate --overwrite -n %s kustomization/%s %s=%s", ks.Namespace, ks.Name, flux.Retry, bad.Commit))
		if h.Revision() == st.Revision {
			set.Put(meta.ReadyCondition, metav1.ConditionFalse, meta.HealthCheckFailedReason, msg)
			set.Drop(meta.ReconcilingCondition)
		}
		return !equality.Semantic.DeepEqual(before, &cur.Status)
	})}}
	if _, err := k.s.env.Store.Commit(ctx, tx); err != nil {
		if ctx.Err() == nil {
			k.s.env.Log.Error("write the quarantine", "kustomization", k.name(), "err", err)
			k.answered = attempt{} // again at the next step
		}
		return
	}
	k.s.env.Log.Warn("quarantined", "kustomization", k.name(), "revision", st.Revision, "why", why)
	k.s.env.Record(ks, corev1.EventTypeWarning, "Quarantined", msg)
	if ks = k.get(); ks == nil {
		return
	}
	k.failed = true
	k.pending, k.watched = nil, nil
	k.hold(ctx, ks, h)
	k.settle(k.attempted, false, []wire.Fault{{Reason: msg, Message: msg}})
}

// revision is a round about a commit that was applied before.
func (k *kustomization) revision(ks *kustomizev1.Kustomization, h source.Head, revision string) (*round, bool) {
	at, ok := git.ParseRevision(revision)
	if !ok {
		return nil, false
	}
	h.Head = at
	r := &round{head: h, want: attempt{revision: revision, generation: ks.Generation}, millis: map[string]float64{}}
	if c, err := h.Repo.Commit(at.Commit); err == nil {
		r.commit = source.Commit(c)
	}
	return r, true
}

// freeze writes that a commit waits for the end of a freeze. What is applied
// is as ready as it was, so that nothing that depends on it waits.
func (k *kustomization) freeze(ctx context.Context, ks *kustomizev1.Kustomization, r *round, err error) {
	k.thaw = gate.Thaw(err)
	msg := flux.Bounded(fmt.Sprintf("%v; %s waits", err, r.head.Revision()))
	now := metav1.NewTime(k.s.env.Now())
	fresh := false
	edit := func(o object.Object) bool {
		cur, ok := o.(*kustomizev1.Kustomization)
		if !ok {
			return false
		}
		before := cur.Status.DeepCopy()
		st := &cur.Status
		set := flux.Conditions{List: &st.Conditions, Generation: ks.Generation, Now: now}
		c := set.Get(verdict.FrozenCondition)
		fresh = c == nil || c.Message != msg
		st.LastAttemptedRevision = r.head.Revision()
		st.LastHandledReconcileAt = ks.Annotations[meta.ReconcileRequestAnnotation]
		set.Put(verdict.FrozenCondition, metav1.ConditionTrue, gate.FrozenReason, msg)
		if st.LastAppliedRevision == "" {
			set.Put(meta.ReadyCondition, metav1.ConditionFalse, gate.FrozenReason, msg)
		} else if c := set.Get(meta.ReadyCondition); c != nil && c.Status == metav1.ConditionFalse && c.Reason != meta.HealthCheckFailedReason {
			// A refused commit is no longer the newest.
			set.Put(meta.ReadyCondition, metav1.ConditionTrue, meta.ReconciliationSucceededReason, "Applied revision: "+st.LastAppliedRevision)
			set.Drop(meta.ReconcilingCondition)
		}
		return !equality.Semantic.DeepEqual(before, st)
	}
	if edit(ks.DeepCopy()) {
		tx := change.Tx{Changes: []change.Change{change.PatchStatus(k.key, edit)}}
		if _, cerr := k.s.env.Store.Commit(ctx, tx); cerr != nil && ctx.Err() == nil {
			k.s.env.Log.Error("write the status", "kustomization", k.name(), "err", cerr)
		}
	}
	if fresh {
		k.s.env.Log.Info("frozen", "kustomization", k.name(), "revision", r.head.Revision(), "until", k.thaw.UTC().Format(time.RFC3339))
		k.s.env.Record(ks, corev1.EventTypeNormal, gate.FrozenReason, msg)
		k.s.env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: k.name(), Phase: "plan", Revision: r.head.Revision(), Commit: r.commit, Message: msg})
	}
	k.settle(r.want, false, []wire.Fault{{Reason: msg, Message: msg}})
}
