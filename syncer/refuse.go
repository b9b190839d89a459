package syncer

import (
	"context"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/status"
	"headway.dev/syncer/step"
	"headway.dev/syncer/wire"
)

// refuse writes why a revision was not applied; everything stays as it was.
func (k *kustomization) refuse(ctx context.Context, ks *kustomizev1.Kustomization, revision string, err error, r *round) {
	now := k.s.env.Now()
	said := status.Attempt{Revision: revision}
	if r != nil {
		said = r.attempt()
		said.Revision = revision
	}
	refused := status.Refuse(ks, err, said, r != nil)
	reason, msg, fresh := refused.Reason, refused.Message, refused.Fresh(ks)
	if edit := refused.Edit(now); edit.Changes(ks) {
		var entry *wire.Entry
		if r != nil && fresh {
			entry = &wire.Entry{
				Type: wire.EntryRejected, Time: now, Source: flux.SourceName(ks), Kustomization: k.name(), Revision: revision,
				Commit: r.commit, Millis: r.millis, Reason: msg,
			}
		}
		tx := change.Tx{Changes: []change.Change{edit.Change(k.key)}}
		if _, cerr := k.s.journal.Commit(ctx, tx, entry); cerr != nil && ctx.Err() == nil {
			k.s.env.Log.Error("write the status", "kustomization", k.name(), "err", cerr)
		}
	}
	switch {
	case !fresh:
	case refused.Waits():
		// Nothing is wrong with the commit: it has to wait.
		k.s.env.Log.Info("waiting", "kustomization", k.name(), "revision", revision, "reason", msg)
		k.s.env.Record(ks, corev1.EventTypeNormal, reason, msg)
	default:
		k.s.env.Log.Warn("not applied", "kustomization", k.name(), "revision", revision, "reason", reason, "err", msg)
		k.s.env.Record(ks, corev1.EventTypeWarning, reason, msg)
		k.s.env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: k.name(), Phase: "error", Revision: revision, Message: msg})
	}
	a := step.Attempt{Revision: revision, Generation: ks.Generation}
	if r != nil {
		a = r.want
	}
	if !refused.Waits() { // which passes by itself
		k.settle(a, false, fault.Faults(err))
	}
}
