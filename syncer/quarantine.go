package syncer

import (
	"context"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/git"
	"headway.dev/syncer/source"
	"headway.dev/syncer/status"
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
// the last good one; reason is the condition's. The first is durable before the
// second begins, so that a restart between them goes on with it. It reports
// whether the first is stored.
func (k *kustomization) quarantine(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head, reason, why string) (stored bool) {
	st := verdict.Of(ks)
	bad, _ := git.ParseRevision(st.Revision)
	held := status.Quarantine(st, bad.Commit, reason, why, h.Revision() == st.Revision)
	msg := held.Message
	tx := change.Tx{Changes: []change.Change{held.Edit(k.s.env.Now()).Change(k.key)}}
	if _, err := k.s.env.Store.Commit(ctx, tx); err != nil {
		if ctx.Err() == nil {
			k.s.env.Log.Error("write the quarantine", "kustomization", k.name(), "err", err)
		}
		return ctx.Err() != nil
	}
	k.s.env.Log.Warn("quarantined", "kustomization", k.name(), "revision", st.Revision, "why", why)
	k.s.env.Record(ks, corev1.EventTypeWarning, "Quarantined", msg)
	if ks = k.get(); ks == nil {
		return true
	}
	k.failed = true
	k.judge.Drop()
	k.hold(ctx, ks, h)
	k.settle(k.attempted, false, []wire.Fault{{Reason: msg, Message: msg}})
	return true
}

// freeze writes that a commit waits for the end of a freeze. What is applied
// is as ready as it was, so that nothing that depends on it waits.
func (k *kustomization) freeze(ctx context.Context, ks *kustomizev1.Kustomization, r *round, err error) {
	k.thaw = gate.Thaw(err)
	frozen := status.Freeze(ks, r.head.Revision(), err)
	msg := frozen.Message
	if edit := frozen.Edit(k.s.env.Now()); edit.Changes(ks) {
		tx := change.Tx{Changes: []change.Change{edit.Change(k.key)}}
		if _, cerr := k.s.env.Store.Commit(ctx, tx); cerr != nil && ctx.Err() == nil {
			k.s.env.Log.Error("write the status", "kustomization", k.name(), "err", cerr)
		}
	}
	if frozen.Fresh(ks) {
		k.s.env.Log.Info("frozen", "kustomization", k.name(), "revision", r.head.Revision(), "until", k.thaw.UTC().Format(time.RFC3339))
		k.s.env.Record(ks, corev1.EventTypeNormal, gate.FrozenReason, msg)
		k.s.env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: k.name(), Phase: "plan", Revision: r.head.Revision(), Commit: r.commit, Message: msg})
	}
	k.settle(r.want, false, []wire.Fault{{Reason: msg, Message: msg}})
}
