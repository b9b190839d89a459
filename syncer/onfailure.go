package syncer

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/syncer/git"
)

// The values of headway.dev/on-failure, besides none.
const (
	onFailureRevert = "revert"
	onFailureHold   = "hold"
)

// revertsPerHour bounds the automatic reverts on one branch.
const revertsPerHour = 3

// response is what follows a failed verdict.
type response string

const (
	// respondNot leaves everything as it is.
	respondNot response = "leave"
	// respondHold puts the commit in quarantine and goes back to the last good
	// one.
	respondHold response = "hold"
	// respondRevert writes a revert commit on the branch.
	respondRevert response = "revert"
)

// failing is a commit with a failed verdict, and what the answer depends on.
type failing struct {
	mode string // headway.dev/on-failure
	state
	// contained says that the branch has the commit, reverts that it takes
	// another one back.
	contained, reverts bool
	// denied is why the Kustomization may not write to the branch.
	denied error
	// recent counts the automatic reverts of the last hour.
	recent int
}

// respond decides what follows a failed verdict, and why it is not more.
//
// A commit is reverted only if it can be blamed: everything was healthy before
// it, and it changed something. Reverts are not reverted, and their number is
// bounded, or they could answer each other. A commit that may be to blame but
// is not reverted is held; nothing is done about one that is not to blame, nor
// if there is nothing good to go back to.
func (f failing) respond() (response, string) {
	switch {
	case f.mode != onFailureRevert && f.mode != onFailureHold:
		return respondNot, ""
	case f.before == beforeNothing:
		return respondNot, "it is the first commit that is applied"
	case f.before == beforeUnchanged:
		return respondNot, "it changed nothing"
	case f.before == beforeUnhealthy:
		return respondNot, "it was not healthy before the commit either"
	case f.healthy == f.revision:
		return respondNot, "it was healthy once, so that the commit is not to blame"
	}
	why := ""
	switch {
	case f.mode == onFailureHold:
	case f.denied != nil:
		why = f.denied.Error()
	case f.before == beforeUnjudged:
		why = "the commit before it was not judged yet"
	case f.reverts:
		why = "the commit is itself a revert"
	case !f.contained:
		why = "the branch does not contain it any more"
	case f.recent >= revertsPerHour:
		why = errTooManyReverts(f.recent).Error()
	default:
		return respondRevert, ""
	}
	if f.healthy == "" {
		return respondNot, "no earlier commit is known to be healthy"
	}
	return respondHold, why
}

// answer carries out headway.dev/on-failure if what is applied has failed,
// once for each attempt. It goes by what the status says, so that a restart
// forgets nothing.
func (k *kustomization) answer(ctx context.Context, h head, want attempt) {
	ks := k.get()
	if ks == nil || ctx.Err() != nil || k.answered == want {
		return
	}
	st := stateOf(ks)
	src := k.s.source(sourceKey(ks))
	if st.result != unhealthy || st.revision != ks.Status.LastAppliedRevision || src == nil {
		return
	}
	if now, _ := src.current(); now.Commit != h.Commit {
		return // a newer commit is there: it is tried first
	}
	k.answered = want
	bad, _ := git.ParseRevision(st.revision)
	f, c, err := k.failing(ks, st, h, bad.Commit)
	if err != nil {
		k.s.log.Error("answer the failed commit", "kustomization", k.name(), "revision", st.revision, "err", err)
		f.contained = false
	}
	reason := k.failure(ks)
	what, why := f.respond()
	switch what {
	case respondNot:
		if why != "" {
			k.s.record(ks, corev1.EventTypeWarning, "NotReverted", fmt.Sprintf("commit %s failed and stays applied: %s", bad.Commit, why))
		}
		return
	case respondRevert:
		err := k.revertCommit(ctx, src, c, reason)
		if err == nil || ctx.Err() != nil {
			return
		}
		k.s.log.Error("revert the failed commit", "kustomization", k.name(), "commit", c.SHA, "err", err)
		if git.Temporary(err) && stateOf(ks).healthy != "" {
			k.quarantine(ctx, ks, h, revertPending, reason+pendingText+bounded(err.Error())+pendingEnd)
			return
		}
		why = "it cannot be reverted: " + err.Error()
	case respondHold:
	}
	if f.mode == onFailureRevert {
		k.s.record(ks, corev1.EventTypeWarning, "NotReverted", fmt.Sprintf("commit %s failed and is not reverted: %s", bad.Commit, why))
		reason += "; it is not reverted automatically, because " + why + "; revert it by hand, or push a commit that mends it"
	}
	if stateOf(ks).healthy == "" {
		return // nothing is known to be good
	}
	k.quarantine(ctx, ks, h, meta.HealthCheckFailedReason, reason)
}

// failing gathers what the answer to a failed commit depends on.
func (k *kustomization) failing(ks *kustomizev1.Kustomization, st state, h head, sha string) (failing, git.Commit, error) {
	f := failing{mode: ks.Annotations[OnFailure], state: st}
	c, err := h.repo.Commit(sha)
	if err != nil || f.mode != onFailureRevert {
		return f, c, err
	}
	f.reverts, f.denied = c.Reverts() != "", k.s.mayWriteGit(ks)
	if f.contained, err = h.repo.IsAncestor(sha, h.Commit); err != nil {
		return f, c, err
	}
	f.recent, err = k.s.recentReverts(h, sourceName(ks), k.s.now())
	return f, c, err
}

// failure is why the applied commit failed.
func (k *kustomization) failure(ks *kustomizev1.Kustomization) string {
	if k.reason != "" {
		return k.reason
	}
	// After a restart the condition knows, if it waits for the verdict.
	if c := (conditions{list: &ks.Status.Conditions}).get(meta.ReadyCondition); c != nil && c.Reason == meta.HealthCheckFailedReason {
		return c.Message
	}
	return "health check failed"
}
