package judge

import (
	"context"
	"time"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/change"
	"headway.dev/syncer/env"
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
func (v *Trial) standing(e *env.Env) *assess.Standing {
	return &assess.Standing{Reader: e.Store, Since: v.began, Now: e.Now(), Settle: v.patience.Settle, Steady: v.patience.Steady}
}

// keepWatch goes on looking at what was found healthy.
func (j *Judge) keepWatch(v *Trial, now time.Time) {
	if v.patience.Probation > 0 {
		v.deadline, v.failed, v.extended, v.relapsed = now.Add(v.patience.Probation), false, false, false
		j.watched = v
	}
}

// relapse takes a verdict back if what was found healthy no longer is, within
// the probation: it is judged once more, with its whole timeout.
func (j *Judge) relapse(ctx context.Context) {
	v := j.watched
	if v == nil || j.pending != nil {
		return
	}
	now := j.Env.Now()
	if now.Before(v.rest) {
		return
	}
	v.due = time.Time{}
	failed := j.look(v, v.checks)
	switch {
	case len(v.open) == 0:
		v.badSince = time.Time{}
		if !now.Before(v.deadline) {
			j.watched = nil
		}
		return
	case v.badSince.IsZero():
		v.badSince = now
	}
	if !failed && now.Sub(v.badSince) < relapseAfter {
		return
	}
	ks := j.get()
	revision := v.Head.Revision()
	if j.watched = nil; ks == nil || verdict.Of(ks).Revision != revision {
		return
	}
	reason := j.reasons(v, false)
	tx := change.Tx{Changes: []change.Change{status.Relapsed(revision, now).Change(j.Key)}}
	if _, err := j.Env.Store.Commit(ctx, tx); err != nil {
		if ctx.Err() == nil {
			j.Env.Log.Error("take back the verdict", "kustomization", j.name(), "err", err)
		}
		j.watched, v.badSince = v, now // again later
		return
	}
	j.Env.Log.Warn("no longer healthy", "kustomization", j.name(), "revision", revision, "why", reason)
	j.Env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: j.name(), Phase: wire.PhaseHealth, Revision: revision, Commit: v.Commit, Message: "no longer healthy soon after its verdict: judged again"})
	v.deadline, v.relapsed, v.badSince = now.Add(ks.GetTimeout()), true, time.Time{}
	j.pending = v
}

// NextLook is when a verdict has to be looked at again without being woken;
// zero if there is none.
func (j *Judge) NextLook(now time.Time) time.Time {
	switch {
	case j.pending != nil && !j.pending.again.IsZero():
		return j.pending.again
	case j.pending != nil:
		v := j.pending
		next := v.deadline
		if !v.failed && !v.due.IsZero() && v.due.Before(next) {
			next = v.due
		}
		if now.Before(v.rest) && v.rest.Before(next) {
			next = v.rest
		}
		return next
	case j.watched != nil:
		if v := j.watched; !v.badSince.IsZero() {
			return v.badSince.Add(relapseAfter)
		}
		next := now.Add(watchPace)
		if j.watched.deadline.Before(next) {
			next = j.watched.deadline
		}
		if rest := j.watched.rest; now.Before(rest) && rest.Before(next) {
			next = rest
		}
		return next
	}
	return time.Time{}
}
