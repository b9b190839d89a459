package respond

import (
	"context"
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/rollback"
	"headway.dev/syncer/source"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// Responder responds to what becomes of one Kustomization's commits. It belongs to
// the Kustomization's loop.
type Responder struct {
	Env       *env.Env
	Rights    rights.Rights
	Sources   *source.Set
	Journal   *journal.Journal
	Rollbacks *rollback.Rollbacks
	Key       object.Key
	// Reason is why the last verdict was failed; empty if there was none since the
	// start.
	Reason func() string
	// Quarantine holds the applied commit, which failed for the reason why, and goes
	// back to the last good one; pending is why its revert failed, if that is tried
	// again. It reports whether that is stored.
	Quarantine func(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head, why string, pending error) bool

	// answered is the attempt whose failed verdict was answered.
	answered step.Attempt
	tries    revertTries
}

func (r *Responder) name() string { return r.Key.Namespace + "/" + r.Key.Name }

func (r *Responder) get() *kustomizev1.Kustomization {
	ks, _ := r.Env.Store.Get(r.Key).(*kustomizev1.Kustomization)
	return ks
}

// Due is when [Responder.RetryRevert] has something to do; zero: it has not.
func (r *Responder) Due() time.Time { return r.tries.due }

// quarantine is tried again at the next step if it cannot be stored.
func (r *Responder) quarantine(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head, why string, pending error) {
	if !r.Quarantine(ctx, ks, h, why, pending) {
		r.answered = step.Attempt{}
	}
}

// Respond carries out headway.dev/on-failure if what is applied has failed,
// once for each attempt. It goes by what the status says, so that a restart
// forgets nothing.
func (r *Responder) Respond(ctx context.Context, h source.Head, want step.Attempt) {
	ks := r.get()
	if ks == nil || ctx.Err() != nil || r.answered == want {
		return
	}
	st := verdict.Of(ks)
	src := r.Sources.Get(flux.SourceKey(ks))
	if st.Result != wire.VerdictFailed || st.Revision != ks.Status.LastAppliedRevision || src == nil {
		return
	}
	if now, _ := src.Current(); now.Commit != h.Commit {
		return // a newer commit is there: it is tried first
	}
	r.answered = want
	bad, _ := git.ParseRevision(st.Revision)
	f, err := r.failing(ks, st, h, bad.Commit)
	if err != nil {
		r.Env.Log.Error("answer the failed commit", "kustomization", r.name(), "revision", st.Revision, "err", err)
		f.Denied = errors.Join(f.Denied, fmt.Errorf("the repository cannot be read: %w", err))
	}
	reason := r.failure(ks)
	what, why := f.Respond()
	switch what {
	case verdict.RespondNot:
		if why != "" {
			r.Env.Record(ks, corev1.EventTypeWarning, "NotReverted", fmt.Sprintf("commit %s failed and stays applied: %s", bad.Commit, why))
		}
		return
	case verdict.RespondRevert:
		err := r.revertFailed(ctx, src, h, st.Healthy, reason)
		if err == nil || ctx.Err() != nil {
			return
		}
		r.Env.Log.Error("revert the failed commit", "kustomization", r.name(), "commit", bad.Commit, "err", err)
		if write.Temporary(err) && verdict.Of(ks).Healthy != "" {
			r.quarantine(ctx, ks, h, reason, err)
			return
		}
		why = "it cannot be reverted: " + err.Error()
	case verdict.RespondHold:
	}
	if f.Mode == flux.OnFailureRevert {
		r.Env.Record(ks, corev1.EventTypeWarning, "NotReverted", fmt.Sprintf("commit %s failed and is not reverted: %s", bad.Commit, why))
		reason += "; it is not reverted automatically, because " + why + "; "
		if f.TakenBack == "" {
			reason += "revert it by hand, or "
		}
		reason += "push a commit that mends it"
	}
	if verdict.Of(ks).Healthy == "" {
		return // nothing is known to be good
	}
	r.quarantine(ctx, ks, h, reason, nil)
}

// failing gathers what the answer to a failed commit depends on.
func (r *Responder) failing(ks *kustomizev1.Kustomization, st verdict.State, h source.Head, sha string) (verdict.Failing, error) {
	f := verdict.Failing{Mode: flux.Of(ks).OnFailure.Value, State: st}
	good, ok := git.ParseRevision(st.Healthy)
	if f.Mode != flux.OnFailureRevert || !ok {
		return f, nil
	}
	f.Denied = r.Rights.MayWriteGit(ks)
	repo, err := h.Repository()
	if err != nil {
		return f, err
	}
	if f.Contained, err = history.IsAncestor(repo, sha, h.Commit); err != nil || !f.Contained {
		return f, err
	}
	if f.Contained, err = history.IsAncestor(repo, good.Commit, sha); err != nil || !f.Contained {
		return f, err
	}
	if f.TakenBack, err = rollback.TakenBackBy(repo, sha, h.Commit); err != nil {
		return f, err
	}
	if f.Reverts, err = r.Rollbacks.OnlyReverts(repo, good.Commit, sha); err != nil {
		return f, err
	}
	f.Recent, err = r.Rollbacks.Recent(h, flux.SourceName(ks), r.Env.Now())
	return f, err
}

// failure is why the applied commit failed.
func (r *Responder) failure(ks *kustomizev1.Kustomization) string {
	if reason := r.Reason(); reason != "" {
		return reason
	}
	// After a restart the condition knows, if it waits for the verdict.
	if c := (flux.Conditions{List: &ks.Status.Conditions}).Get(meta.ReadyCondition); c != nil && c.Reason == meta.HealthCheckFailedReason {
		return c.Message
	}
	return "health check failed"
}
