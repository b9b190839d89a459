package syncer

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/source"
	"headway.dev/syncer/status"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// answer carries out headway.dev/on-failure if what is applied has failed,
// once for each attempt. It goes by what the status says, so that a restart
// forgets nothing.
func (k *kustomization) answer(ctx context.Context, h source.Head, want step.Attempt) {
	ks := k.get()
	if ks == nil || ctx.Err() != nil || k.answered == want {
		return
	}
	st := verdict.Of(ks)
	src := k.s.sources.Get(flux.SourceKey(ks))
	if st.Result != wire.VerdictFailed || st.Revision != ks.Status.LastAppliedRevision || src == nil {
		return
	}
	if now, _ := src.Current(); now.Commit != h.Commit {
		return // a newer commit is there: it is tried first
	}
	k.answered = want
	bad, _ := git.ParseRevision(st.Revision)
	f, err := k.failing(ks, st, h, bad.Commit)
	if err != nil {
		k.s.env.Log.Error("answer the failed commit", "kustomization", k.name(), "revision", st.Revision, "err", err)
		f.Contained = false
	}
	reason := k.failure(ks)
	what, why := f.Respond()
	switch what {
	case verdict.RespondNot:
		if why != "" {
			k.s.env.Record(ks, corev1.EventTypeWarning, "NotReverted", fmt.Sprintf("commit %s failed and stays applied: %s", bad.Commit, why))
		}
		return
	case verdict.RespondRevert:
		err := k.revertFailed(ctx, src, h, st.Healthy, reason)
		if err == nil || ctx.Err() != nil {
			return
		}
		k.s.env.Log.Error("revert the failed commit", "kustomization", k.name(), "commit", bad.Commit, "err", err)
		if write.Temporary(err) && verdict.Of(ks).Healthy != "" {
			k.quarantine(ctx, ks, h, status.RevertPending, status.WithPending(reason, err))
			return
		}
		why = "it cannot be reverted: " + err.Error()
	case verdict.RespondHold:
	}
	if f.Mode == verdict.OnFailureRevert {
		k.s.env.Record(ks, corev1.EventTypeWarning, "NotReverted", fmt.Sprintf("commit %s failed and is not reverted: %s", bad.Commit, why))
		reason += "; it is not reverted automatically, because " + why + "; revert it by hand, or push a commit that mends it"
	}
	if verdict.Of(ks).Healthy == "" {
		return // nothing is known to be good
	}
	k.quarantine(ctx, ks, h, meta.HealthCheckFailedReason, reason)
}

// failing gathers what the answer to a failed commit depends on.
func (k *kustomization) failing(ks *kustomizev1.Kustomization, st verdict.State, h source.Head, sha string) (verdict.Failing, error) {
	f := verdict.Failing{Mode: ks.Annotations[flux.OnFailure], State: st}
	good, ok := git.ParseRevision(st.Healthy)
	if f.Mode != verdict.OnFailureRevert || !ok {
		return f, nil
	}
	f.Denied = k.s.rights.MayWriteGit(ks)
	var err error
	if f.Contained, err = history.IsAncestor(h.Repo, sha, h.Commit); err != nil || !f.Contained {
		return f, err
	}
	if f.Contained, err = history.IsAncestor(h.Repo, good.Commit, sha); err != nil || !f.Contained {
		return f, err
	}
	if f.Reverts, err = k.s.rollbacks.OnlyReverts(h.Repo, good.Commit, sha); err != nil {
		return f, err
	}
	f.Recent, err = k.s.rollbacks.Recent(h, flux.SourceName(ks), k.s.env.Now())
	return f, err
}

// failure is why the applied commit failed.
func (k *kustomization) failure(ks *kustomizev1.Kustomization) string {
	if reason := k.judge.Reason(); reason != "" {
		return reason
	}
	// After a restart the condition knows, if it waits for the verdict.
	if c := (flux.Conditions{List: &ks.Status.Conditions}).Get(meta.ReadyCondition); c != nil && c.Reason == meta.HealthCheckFailedReason {
		return c.Message
	}
	return "health check failed"
}
