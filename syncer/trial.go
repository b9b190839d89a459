package syncer

import (
	"cmp"
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
	"headway.dev/syncer/status"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// trial is the wait for an applied commit to become healthy.
type trial struct {
	round    *round
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
	// relapsed says that it was healthy before; badSince is since when what is on
	// probation is not.
	relapsed bool
	badSince time.Time
}

// watch starts to judge what was applied.
func (k *kustomization) watch(ks *kustomizev1.Kustomization, r *round) {
	v := k.newVerdict(ks, r, r.plan.Inventory)
	if k.pending != nil && k.pending.round.head.Commit == r.head.Commit && !k.pending.failed {
		// Drift was put back meanwhile, or the spec says otherwise what to wait for.
		v.began = k.pending.began
		if r.drift {
			v.deadline = k.pending.deadline
		}
		k.pending = v
		return
	}
	k.pending, k.watched = v, nil
	k.s.env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: k.name(), Phase: "health", Revision: r.head.Revision(), Commit: r.commit, Message: "waiting until everything is healthy"})
}

// newVerdict is about what a round applied.
func (k *kustomization) newVerdict(ks *kustomizev1.Kustomization, r *round, inventory []object.Key) *trial {
	now := k.s.env.Now()
	v := &trial{round: r, began: now, deadline: now.Add(ks.GetTimeout()), conditions: ks.Spec.Wait || len(ks.Spec.HealthChecks) > 0}
	v.patience, _ = verdict.PatienceOf(ks, k.s.cfg.Settle)
	// They compiled when the commit was planned.
	v.exprs, _ = k.exprs.HealthOf(ks)
	v.checks = inventory
	if !ks.Spec.Wait && len(ks.Spec.HealthChecks) > 0 {
		v.checks = flux.HealthChecks(ks)
	}
	named := !ks.Spec.Wait && len(ks.Spec.HealthChecks) > 0
	v.checks = slices.DeleteFunc(slices.Clone(v.checks), func(key object.Key) bool {
		// A Kustomization among its own objects would wait for itself.
		return key == k.key || !named && k.leftAlone(r, key)
	})
	v.open = v.checks
	return v
}

// leftAlone reports whether an object of the inventory is not waited for: it asks
// to be left alone, or is no longer declared and waits for an heir.
func (k *kustomization) leftAlone(r *round, key object.Key) bool {
	live := k.s.env.Store.Get(key)
	return live != nil && plan.LeftAlone(live) || slices.Contains(r.plan.Kept, key)
}

// judge gives the pending verdict, if it can be given.
func (k *kustomization) judge(ctx context.Context) {
	k.relapse(ctx)
	v := k.pending
	if v == nil {
		return
	}
	all := len(v.open) == len(v.checks)
	failed := k.look(v, v.open)
	if len(v.open) == 0 && !all {
		// All were healthy at some time: are they now?
		failed = k.look(v, v.checks) || failed
	}
	now := k.s.env.Now()
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
		k.pending = nil
		k.conclude(ctx, v, result, "")
		k.keepWatch(v, now)
	case v.failed:
		v.deadline = now.Add(time.Hour)
	case failed || late:
		v.failed = true
		v.deadline = now.Add(time.Hour)
		reason := k.reasons(v, late)
		k.lastWords(ctx, v)
		k.conclude(ctx, v, wire.VerdictFailed, reason)
	}
}

// look makes those of the keys the open ones that are not healthy now, and
// reports whether one has failed.
func (k *kustomization) look(v *trial, keys []object.Key) (failed bool) {
	var open []object.Key
	now := k.s.env.Now()
	v.due = time.Time{}
	only := true // a little time is what is wanting
	st := v.standing(k.s)
	var longest time.Duration
	for _, key := range keys {
		res, wait := verdict.Check(v.exprs, st, key)
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
func (k *kustomization) reasons(v *trial, late bool) string {
	var list []string
	st := v.standing(k.s)
	for _, key := range v.open {
		res, _ := verdict.Check(v.exprs, st, key)
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
	after := k.s.env.Now().Sub(v.began).Round(time.Millisecond)
	if late {
		return fmt.Sprintf("health check failed after %s: timeout waiting for: [%s]", after, strings.Join(list, ", "))
	}
	return fmt.Sprintf("health check failed after %s: failed early due to stalled resources: [%s]", after, strings.Join(list, ", "))
}

// superseded is the journal's entry about a pending verdict that ends because
// something newer is applied; nil if there is none.
func (k *kustomization) superseded(ks *kustomizev1.Kustomization, revision string) *wire.Entry {
	if v := k.pending; v != nil && !v.failed && v.round.head.Revision() != revision {
		return k.entry(flux.SourceName(ks), v, wire.VerdictSuperseded, "superseded by "+revision)
	}
	return nil
}

func (k *kustomization) entry(source string, v *trial, result, reason string) *wire.Entry {
	return &wire.Entry{
		Type: wire.EntryVerdict, Time: k.s.env.Now(), Source: source, Kustomization: k.name(), Revision: v.round.head.Revision(),
		Commit: v.round.commit, Verdict: result, Reason: reason,
		Millis: map[string]float64{"health": float64(k.s.env.Now().Sub(v.began).Microseconds()) / 1000},
	}
}

// conclude writes the verdict: journal, conditions, event.
func (k *kustomization) conclude(ctx context.Context, v *trial, result, reason string) {
	ks := k.get()
	if ks == nil {
		return
	}
	ok := result != wire.VerdictFailed
	revision := v.round.head.Revision()
	edit := status.Judged{
		Attempt: v.round.attempt(), OK: ok, Reason: reason, Began: v.began, Conditions: v.conditions,
		Newest: !k.failed || k.attempted.Revision == revision || !k.thaw.IsZero(),
	}.Edit(k.s.env.Now())
	tx := change.Tx{Changes: []change.Change{edit.Change(k.key)}}
	if _, err := k.s.journal.Commit(ctx, tx, k.entry(flux.SourceName(ks), v, result, reason)); err != nil && ctx.Err() == nil {
		k.s.env.Log.Error("write the verdict", "kustomization", k.name(), "err", err)
	}
	k.settle(v.round.want, ok, nil)
	k.reason = reason
	msg := reason
	if ok {
		msg = "Reconciliation finished: " + revision + " is healthy"
		k.s.env.Record(ks, corev1.EventTypeNormal, meta.ReconciliationSucceededReason, msg)
	} else {
		k.s.env.Record(ks, corev1.EventTypeWarning, meta.HealthCheckFailedReason, reason)
	}
	k.s.env.Log.Info("verdict", "kustomization", k.name(), "revision", revision, "verdict", result, "reason", reason)
	k.s.env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: k.name(), Phase: "verdict", Revision: revision, Commit: v.round.commit, Verdict: result, Message: msg})
}

// announce reports what was applied: events, log, progress.
func (k *kustomization) announce(ks *kustomizev1.Kustomization, r *round, actions []plan.Action) {
	words := map[plan.Type]string{plan.Create: "created", plan.Update: "configured", plan.Delete: "deleted"}
	var lines []string
	for _, a := range actions {
		if w := words[a.Type]; w != "" {
			lines = append(lines, flux.Describe(a.Key)+" "+w)
		}
	}
	const most = 50
	if n := len(lines); n > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", n-most))
	}
	if len(lines) > 0 && r.culprits != "" {
		lines = append(lines, r.culprits)
	}
	if len(lines) > 0 {
		k.s.env.Record(ks, corev1.EventTypeNormal, meta.ProgressingReason, strings.Join(lines, "\n"))
	}
	k.s.env.Log.Info("applied", "kustomization", k.name(), "revision", r.head.Revision(), "objects", len(r.items), "rendered", r.made, "compared", r.plan.Compared, "changes", len(actions), "drift", r.drift, "millis", r.millis)
	message := ""
	if r.drift {
		message = cmp.Or(r.culprits, "it was not as Git has it")
	}
	k.s.env.Emit(wire.Event{
		Source: flux.SourceName(ks), Kustomization: k.name(), Phase: "commit", Revision: r.head.Revision(), Commit: r.commit, Actions: r.plan.Told(false), Message: message,
	})
}
