package apply

import (
	"context"
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/git"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/status"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// refuse writes why a revision was not applied; everything stays as it was.
func (k *kustomization) refuse(ctx context.Context, ks *kustomizev1.Kustomization, revision string, err error, r *round) {
	now := k.s.Env.Now()
	snapshot := status.Snapshot{Revision: revision}
	if r != nil {
		snapshot = r.snapshot()
		snapshot.Revision = revision
	}
	refused := status.Refuse(ks, err, snapshot, r != nil)
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
		if _, cerr := k.s.Journal.Commit(ctx, tx, entry); cerr != nil && ctx.Err() == nil {
			k.s.Env.Log.Error("write the status", "kustomization", k.name(), "err", cerr)
		}
	}
	switch {
	case !fresh:
	case refused.Waits():
		// Nothing is wrong with the commit: it has to wait.
		k.s.Env.Log.Info("waiting", "kustomization", k.name(), "revision", revision, "reason", msg)
		k.s.Env.Record(ks, corev1.EventTypeNormal, reason, msg)
	default:
		k.s.Env.Log.Warn("not applied", "kustomization", k.name(), "revision", revision, "reason", reason, "err", msg)
		k.s.Env.Record(ks, corev1.EventTypeWarning, reason, msg)
		k.s.Env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: k.name(), Phase: wire.PhaseError, Revision: revision, Message: msg})
	}
	a := step.Attempt{Revision: revision, Generation: ks.Generation}
	if r != nil {
		a = r.want
	}
	if !refused.Waits() { // which passes by itself
		k.finish(a, false, fault.Faults(err))
	}
}

// quarantined reports whether the commit has failed and is not to be tried again.
func quarantined(ks *kustomizev1.Kustomization, h source.Head) bool {
	q, ok := git.ParseRevision(verdict.Of(ks).Quarantined)
	return ok && q.Commit == h.Commit && !flux.Of(ks).Retry.Value.Names(h.Commit)
}

// forget removes the annotation that was heeded by the round.
func (r *round) forget(ks *kustomizev1.Kustomization) []change.Change {
	retry := flux.Of(ks).Retry
	if r.hold || !retry.Value.Names(r.head.Commit) {
		return nil
	}
	return []change.Change{change.Patch(r.k.key, retry.Drop)}
}

// hold goes back to the commit that was healthy last.
func (k *kustomization) hold(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head) {
	good, ok := git.ParseRevision(verdict.Of(ks).Healthy)
	if !ok {
		return
	}
	k.apply(ctx, ks, h.At(good), true)
}

// quarantine remembers that the applied commit has failed, and goes back to
// the last good one; pending is why its revert failed, if that is tried again. The
// first is durable before the second begins, so that a restart between them goes on
// with it. It reports whether the first is stored.
func (k *kustomization) quarantine(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head, why string, pending error) (stored bool) {
	st := verdict.Of(ks)
	bad, _ := git.ParseRevision(st.Revision)
	q := status.Quarantine(st, bad.Commit, why, pending, h.Revision() == st.Revision)
	msg := q.String()
	tx := change.Tx{Changes: []change.Change{q.Edit(k.s.Env.Now()).Change(k.key)}}
	if _, err := k.s.Env.Store.Commit(ctx, tx); err != nil {
		if ctx.Err() == nil {
			k.s.Env.Log.Error("write the quarantine", "kustomization", k.name(), "err", err)
		}
		return ctx.Err() != nil
	}
	k.s.Env.Log.Warn("quarantined", "kustomization", k.name(), "revision", st.Revision, "why", q.Cause())
	k.s.Env.Record(ks, corev1.EventTypeWarning, "Quarantined", msg)
	if ks = k.get(); ks == nil {
		return true
	}
	k.failed = true
	k.judge.Drop()
	k.hold(ctx, ks, h)
	k.finish(k.attempted, false, []wire.Fault{{Reason: msg, Message: msg}})
	return true
}

// freeze writes that a commit waits for the end of a freeze. What is applied
// is as ready as it was, so that nothing that depends on it waits.
func (k *kustomization) freeze(ctx context.Context, ks *kustomizev1.Kustomization, r *round, err error) {
	k.thaw = gate.Thaw(err)
	frozen := status.Freeze(ks, r.head.Revision(), err)
	msg := frozen.Message
	if edit := frozen.Edit(k.s.Env.Now()); edit.Changes(ks) {
		tx := change.Tx{Changes: []change.Change{edit.Change(k.key)}}
		if _, cerr := k.s.Env.Store.Commit(ctx, tx); cerr != nil && ctx.Err() == nil {
			k.s.Env.Log.Error("write the status", "kustomization", k.name(), "err", cerr)
		}
	}
	if frozen.Fresh(ks) {
		k.s.Env.Log.Info("frozen", "kustomization", k.name(), "revision", r.head.Revision(), "until", k.thaw.UTC().Format(time.RFC3339))
		k.s.Env.Record(ks, corev1.EventTypeNormal, flux.FrozenReason, msg)
		k.s.Env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: k.name(), Phase: wire.PhasePlan, Revision: r.head.Revision(), Commit: r.commit, Message: msg})
	}
	k.finish(r.want, false, []wire.Fault{{Reason: msg, Message: msg}})
}

// watchFreeze tells by events that a freeze has begun and ended, whether or not
// a commit waits, and returns when it is to be asked again; zero if there are
// no windows. A start within a window tells of it again.
func (k *kustomization) watchFreeze(ks *kustomizev1.Kustomization) time.Time {
	b, err := k.s.Gates.BoundsOf(ks)
	if err != nil {
		return time.Time{} // the plan tells of it
	}
	now := k.s.Env.Now()
	until, in, next := b.FrozenAt(now)
	switch {
	case !until.IsZero() && !k.frozen:
		k.s.Env.Record(ks, corev1.EventTypeNormal, flux.FrozenReason, fmt.Sprintf("Frozen until %s (%s: %s): new commits wait", until.Format(time.RFC3339), flux.OfGate(wire.GateFreeze), in))
	case until.IsZero() && k.frozen:
		k.s.Env.Record(ks, corev1.EventTypeNormal, flux.ThawedReason, "The freeze is over: new commits are applied")
	}
	k.frozen = !until.IsZero()
	if k.frozen {
		return until
	}
	return next
}

// unpruned is what a round keeps for another's sake.
func unpruned(r *round) flux.Unpruned {
	var list []string
	var waiting []plan.Action
	for _, a := range r.plan.Actions {
		if a.Held {
			waiting = append(waiting, a)
		}
		if a.Successor != nil && a.Successor.Unsure {
			list = append(list, fmt.Sprintf("%s (%s)", flux.Describe(a.Key), a.Reason))
		}
	}
	u := flux.Unpruned{Revision: r.head.Revision()}
	if n := len(waiting); n > 0 && len(list) == 0 {
		u.Kept = fmt.Sprintf("%s no longer declared, and not deleted yet: %s", wire.Plural(n, "object"), waiting[0].Reason)
		return u
	}
	if len(list) == 0 {
		return u
	}
	const most = 10
	n := len(list)
	if n > most {
		list = append(list[:most], fmt.Sprintf("and %d more", n-most))
	}
	u.Kept = fmt.Sprintf("%s no longer declared, and not deleted: %s; decided once that one is mended or gone", wire.Plural(n, "object"), strings.Join(list, ", "))
	return u
}

// keep remembers for whom something is kept, to look again when those change,
// and tells of what stays for one that cannot be rendered.
func (r *round) keep(ks *kustomizev1.Kustomization) {
	k := r.k
	successors := map[object.Key]bool{}
	for _, a := range r.plan.Actions {
		if a.Successor != nil {
			successors[owners.KeyOf(a.Successor.Owner)] = true
		}
	}
	k.board.Keep(successors)
	if u := unpruned(r); u.Kept != k.left {
		k.left = u.Kept
		if u.Kept != "" {
			k.s.Env.Record(ks, corev1.EventTypeWarning, flux.PruneSkippedReason, flux.Bounded(u.String()))
		}
	}
}
