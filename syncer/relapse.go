package syncer

import (
	"context"
	"time"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/change"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/status"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

const (
	// watchPace is how often what was found healthy is looked at on probation,
	// besides when something changes.
	watchPace = 10 * time.Second
	// relapseAfter is how long what was found healthy has to be otherwise before
	// its verdict is taken back: a pod that is deleted by hand comes back sooner.
	relapseAfter = 5 * time.Second
)

// standing judges by what is stored now.
func (v *trial) standing(s *Syncer) *assess.Standing {
	return &assess.Standing{Reader: s.env.Store, Since: v.began, Now: s.env.Now(), Settle: v.patience.Settle, Steady: v.patience.Steady}
}

// keepWatch goes on looking at what was found healthy.
func (k *kustomization) keepWatch(v *trial, now time.Time) {
	if v.patience.Probation > 0 {
		v.deadline, v.failed, v.extended, v.relapsed = now.Add(v.patience.Probation), false, false, false
		k.watched = v
	}
}

// relapse takes a verdict back if what was found healthy no longer is, within
// the probation: it is judged once more, with its whole timeout.
func (k *kustomization) relapse(ctx context.Context) {
	v := k.watched
	if v == nil || k.pending != nil {
		return
	}
	now := k.s.env.Now()
	v.due = time.Time{}
	failed := k.look(v, v.checks)
	switch {
	case len(v.open) == 0:
		v.badSince = time.Time{}
		if !now.Before(v.deadline) {
			k.watched = nil
		}
		return
	case v.badSince.IsZero():
		v.badSince = now
	}
	if !failed && now.Sub(v.badSince) < relapseAfter {
		return
	}
	ks := k.get()
	revision := v.round.head.Revision()
	if k.watched = nil; ks == nil || verdict.Of(ks).Revision != revision {
		return
	}
	reason := k.reasons(v, false)
	tx := change.Tx{Changes: []change.Change{status.Relapsed(revision, now).Change(k.key)}}
	if _, err := k.s.env.Store.Commit(ctx, tx); err != nil {
		if ctx.Err() == nil {
			k.s.env.Log.Error("take back the verdict", "kustomization", k.name(), "err", err)
		}
		k.watched, v.badSince = v, now // again later
		return
	}
	k.s.env.Log.Warn("no longer healthy", "kustomization", k.name(), "revision", revision, "why", reason)
	k.s.env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: k.name(), Phase: "health", Revision: revision, Commit: v.round.commit, Message: "no longer healthy soon after its verdict: judged again"})
	v.deadline, v.relapsed, v.badSince = now.Add(ks.GetTimeout()), true, time.Time{}
	k.pending = v
}

// nextLook is when a verdict has to be looked at again without being woken.
func (k *kustomization) nextLook(now time.Time) (time.Time, bool) {
	switch {
	case k.pending != nil:
		if v := k.pending; !v.failed && !v.due.IsZero() && v.due.Before(v.deadline) {
			return v.due, true
		}
		return k.pending.deadline, true
	case k.watched != nil:
		if v := k.watched; !v.badSince.IsZero() {
			return v.badSince.Add(relapseAfter), true
		}
		next := now.Add(watchPace)
		if k.watched.deadline.Before(next) {
			next = k.watched.deadline
		}
		return next, true
	}
	return time.Time{}, false
}
