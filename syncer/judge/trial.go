package judge

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/expr"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/status"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// Subject is a commit that is applied, and what of it is judged.
type Subject struct {
	Head   source.Head
	Commit *wire.Commit
	// Want is the attempt that it was applied for.
	Want step.Attempt
	// Resources identifies what was rendered, and Began is when the attempt began.
	Resources string
	Began     time.Time
	// Inventory is what is applied, of which Kept is no longer declared and waits
	// for its successor.
	Inventory, Kept []object.Key
	// Drift says that it was applied before.
	Drift bool
}

func (s Subject) snapshot() status.Snapshot {
	return status.Snapshot{Resources: s.Resources, Revision: s.Head.Revision(), Began: s.Began}
}

// Trial is the wait for an applied commit to become healthy.
type Trial struct {
	Subject
	began    time.Time
	deadline time.Time
	// conditions says that the Kustomization's status waits for it, too.
	conditions bool
	checks     []object.Key
	exprs      map[verdict.Checked]*expr.Health
	// open are the checks that were not healthy when last looked at.
	open []object.Key
	// failed says that the verdict was given; recovery is still noticed.
	failed bool
	// patience is how long containers have to run.
	patience verdict.Patience
	// due is when what is open for want of time only is looked at again;
	// extended says that the deadline was moved for that.
	due      time.Time
	extended bool
	// rest is until when it is not looked at again.
	rest time.Time
	// relapsed says that it was healthy before; badSince is since when what is on
	// probation is not.
	relapsed bool
	badSince time.Time
	// again is when a verdict that could not be stored is given again.
	again time.Time
	// quoted says that the last words of what crashed were recorded, for a verdict
	// that could not be stored yet.
	quoted bool
}

// newTrial is about what was applied.
func (j *Judge) newTrial(ks *kustomizev1.Kustomization, subject Subject) *Trial {
	now := j.Env.Now()
	v := &Trial{Subject: subject, began: now, deadline: now.Add(ks.GetTimeout()), conditions: ks.Spec.Wait || len(ks.Spec.HealthChecks) > 0}
	v.patience, _ = verdict.PatienceOf(ks, j.Settle)
	// They compiled when the commit was planned.
	v.exprs, _ = j.Expressions.HealthOf(ks)
	v.checks = subject.Inventory
	if !ks.Spec.Wait && len(ks.Spec.HealthChecks) > 0 {
		v.checks = flux.HealthChecks(ks)
	}
	named := !ks.Spec.Wait && len(ks.Spec.HealthChecks) > 0
	v.checks = slices.DeleteFunc(slices.Clone(v.checks), func(key object.Key) bool {
		// A Kustomization among its own objects would wait for itself.
		return key == j.Key || !named && j.leftAlone(subject, key)
	})
	v.open = v.checks
	return v
}

// leftAlone reports whether an object of the inventory is not waited for: it asks
// to be left alone, or is no longer declared and waits for a successor.
func (j *Judge) leftAlone(subject Subject, key object.Key) bool {
	live := j.Env.Store.Get(key)
	return live != nil && plan.LeftAlone(live) || slices.Contains(subject.Kept, key)
}

// After a look at restFrom objects or more there is none for restAfter times as long
// as it took: what changes a thousand times in a second must not be looked at as
// often.
const restFrom, restAfter = 100, 20

// concludePause is the wait after a verdict could not be stored.
const concludePause = time.Second

// Judge gives the pending verdict, if it can be given.
func (j *Judge) Judge(ctx context.Context) {
	j.relapse(ctx)
	v := j.pending
	if v == nil {
		return
	}
	v.again = time.Time{}
	if now := j.Env.Now(); now.Before(v.rest) && now.Before(v.deadline) {
		return
	}
	all := len(v.open) == len(v.checks)
	failed := j.look(v, v.open)
	if len(v.open) == 0 && !all {
		// All were healthy at some time: are they now?
		failed = j.look(v, v.checks) || failed
	}
	now := j.Env.Now()
	late := !now.Before(v.deadline)
	if late && !failed && !v.extended && now.Before(v.due) && v.due.Sub(now) <= v.patience.Settle {
		// All that is wanting is that a container runs for a moment longer.
		v.deadline, v.extended, late = v.due, true, false
	}
	switch {
	case len(v.open) == 0:
		result := wire.VerdictHealthy
		if v.failed || v.relapsed {
			result = wire.VerdictRecovered
		}
		if j.conclude(ctx, v, result, "") {
			j.pending = nil
			j.keepWatch(v, now)
		}
	case v.failed:
		v.deadline = now.Add(time.Hour)
	case failed || late:
		reason := j.reasons(v, late)
		if !v.quoted {
			j.lastWords(ctx, v)
			v.quoted = true
		}
		if j.conclude(ctx, v, wire.VerdictFailed, reason) {
			v.failed, v.quoted = true, false
			v.deadline = now.Add(time.Hour)
		}
	}
}

// look makes those of the keys the open ones that are not healthy now, and
// reports whether one has failed.
func (j *Judge) look(v *Trial, keys []object.Key) (failed bool) {
	var open []object.Key
	now := j.Env.Now()
	v.due = time.Time{}
	if len(keys) >= restFrom {
		defer func(began time.Time) { v.rest = now.Add(restAfter * time.Since(began)) }(time.Now())
	}
	only := true // a little time is what is wanting
	st := v.standing(j.Env)
	st.Brief = true
	var longest time.Duration
	for _, key := range keys {
		res, wait := verdict.Assess(v.exprs, st, key)
		switch res.Status {
		case health.Current:
			continue
		case health.Failed:
			failed = true
		case health.InProgress, health.Terminating, health.NotFound:
		}
		only = only && wait > 0
		longest = max(longest, wait)
		open = append(open, key)
	}
	if longest > 0 {
		v.due = now.Add(longest)
		if !only {
			v.due = now.Add(time.Second)
		}
	}
	v.open = open
	return failed
}

// reasons says what is not healthy, and why, in Flux's words.
func (j *Judge) reasons(v *Trial, late bool) string {
	var list []string
	st := v.standing(j.Env)
	for _, key := range v.open {
		res, _ := verdict.Assess(v.exprs, st, key)
		text := fmt.Sprintf("%s status: '%s'", flux.Describe(key), res.Status)
		if res.Message != "" {
			text += ": " + res.Message
		}
		list = append(list, text)
	}
	sort.Strings(list)
	const most = 10
	if len(list) > most {
		list = append(list[:most], fmt.Sprintf("and %d more", len(list)-most))
	}
	after := j.Env.Now().Sub(v.began).Round(time.Millisecond)
	if late {
		return fmt.Sprintf("health check failed after %s: timeout waiting for: [%s]", after, strings.Join(list, ", "))
	}
	return fmt.Sprintf("health check failed after %s: failed early due to stalled resources: [%s]", after, strings.Join(list, ", "))
}

// Superseded is the journal's entry about a pending verdict that ends because
// something newer is applied; nil if there is none.
func (j *Judge) Superseded(ks *kustomizev1.Kustomization, revision string) *wire.Entry {
	if v := j.pending; v != nil && !v.failed && v.Head.Revision() != revision {
		return j.entry(flux.SourceName(ks), v, wire.VerdictSuperseded, "superseded by "+revision)
	}
	return nil
}

func (j *Judge) entry(source string, v *Trial, result wire.Verdict, reason string) *wire.Entry {
	return &wire.Entry{
		Type: wire.EntryVerdict, Time: j.Env.Now(), Source: source, Kustomization: j.name(), Revision: v.Head.Revision(),
		Commit: v.Commit, Verdict: result, Reason: reason,
		Millis: map[string]float64{"health": float64(j.Env.Now().Sub(v.began).Microseconds()) / 1000},
	}
}

// conclude writes the verdict: journal, conditions, event. It reports false if it
// could not be stored: then it has to be given again, a moment later.
func (j *Judge) conclude(ctx context.Context, v *Trial, result wire.Verdict, reason string) bool {
	ks := j.get()
	if ks == nil {
		return true
	}
	ok := result != wire.VerdictFailed
	revision := v.Head.Revision()
	edit := status.Judged{
		Snapshot: v.snapshot(), OK: ok, Reason: reason, Began: v.began, Conditions: v.conditions,
		Newest: j.Newest(revision),
	}.Edit(j.Env.Now())
	tx := change.Tx{Changes: []change.Change{edit.Change(j.Key)}}
	if _, err := j.Journal.Commit(ctx, tx, j.entry(flux.SourceName(ks), v, result, reason)); err != nil {
		if ctx.Err() == nil {
			j.Env.Log.Error("write the verdict", "kustomization", j.name(), "err", err)
		}
		v.again = j.Env.Now().Add(concludePause)
		return false
	}
	j.Concluded(v.Want, ok)
	j.reason = reason
	msg := reason
	if ok {
		msg = "Reconciliation finished: " + revision + " is healthy"
		j.Env.Record(ks, corev1.EventTypeNormal, meta.ReconciliationSucceededReason, msg)
	} else {
		j.Env.Record(ks, corev1.EventTypeWarning, meta.HealthCheckFailedReason, reason)
	}
	j.Env.Log.Info("verdict", "kustomization", j.name(), "revision", revision, "verdict", result, "reason", reason)
	j.Env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: j.name(), Phase: wire.PhaseVerdict, Revision: revision, Commit: v.Commit, Verdict: result, Message: msg})
	return true
}
