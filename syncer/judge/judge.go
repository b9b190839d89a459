package judge

import (
	"encoding/json"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// Judge judges what one Kustomization applies. It belongs to the Kustomization's
// loop.
type Judge struct {
	Env         *env.Env
	Journal     *journal.Journal
	Key         object.Key
	Expressions *verdict.Expressions
	// Settle is how long a container has to run that has no readiness probe, where
	// nothing else says so.
	Settle time.Duration
	// Logs reads the logs of crashed containers; nil: they are not reported.
	Logs Logs
	// Newest reports whether Ready is about that revision: nothing newer was refused.
	Newest func(revision string) bool
	// Concluded is called with each verdict.
	Concluded func(want step.Attempt, ok bool)

	pending  *Trial
	watched  *Trial // what was found healthy, while on probation
	restored bool   // pending was, after the start
	judgedBy string // see healthSpec
	reason   string
}

func (j *Judge) name() string { return j.Key.Namespace + "/" + j.Key.Name }

func (j *Judge) get() *kustomizev1.Kustomization {
	ks, _ := j.Env.Store.Get(j.Key).(*kustomizev1.Kustomization)
	return ks
}

// Waits reports whether a verdict is waited for, or recovery from a failed one.
func (j *Judge) Waits() bool { return j.pending != nil }

// Open reports whether a verdict is waited for.
func (j *Judge) Open() bool { return j.pending != nil && !j.pending.failed }

// Reason is why the last verdict was failed; empty if there was none since the
// start.
func (j *Judge) Reason() string { return j.reason }

// OtherSpec reports whether what was judged last was judged by another spec than
// that of ks.
func (j *Judge) OtherSpec(ks *kustomizev1.Kustomization) bool { return j.judgedBy != healthSpec(ks) }

// Drop ends all trials.
func (j *Judge) Drop() { j.pending, j.watched = nil, nil }

// Advance ends the trials of other revisions than the one that is applied now.
func (j *Judge) Advance(revision string) {
	j.watched = nil
	if j.pending != nil && j.pending.Head.Revision() != revision {
		j.pending = nil
	}
}

// healthSpec is what of the spec decides how a commit is judged: when that
// changes it is judged anew.
func healthSpec(ks *kustomizev1.Kustomization) string {
	// It cannot fail: these came as JSON.
	data, _ := json.Marshal([]any{ks.Spec.Wait, ks.Spec.HealthChecks, ks.Spec.HealthCheckExprs, ks.GetTimeout()})
	return string(data)
}

// Watch starts to judge what was applied.
func (j *Judge) Watch(ks *kustomizev1.Kustomization, subject Subject) {
	j.judgedBy = healthSpec(ks)
	v := j.newTrial(ks, subject)
	if j.pending != nil && j.pending.Head.Commit == subject.Head.Commit && !j.pending.failed {
		// Drift was put back meanwhile, or the spec says otherwise what to wait for.
		v.began = j.pending.began
		if subject.Drift {
			v.deadline = j.pending.deadline
		}
		j.pending = v
		return
	}
	j.pending, j.watched = v, nil
	j.Env.Emit(wire.Event{Source: flux.SourceName(ks), Kustomization: j.name(), Phase: wire.PhaseHealth, Revision: subject.Head.Revision(), Commit: subject.Commit, Message: "waiting until everything is healthy"})
}
