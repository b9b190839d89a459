package syncer

import (
	"context"
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
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
	// contained says that the branch has the commit, and it the one that was
	// healthy last; reverts that nothing but reverts came since that one.
	contained, reverts bool
	// denied is why the Kustomization may not write to the branch.
	denied error
	// recent counts the automatic reverts of the last hour.
	recent int
}

// respond decides what follows a failed verdict, and why it is not more.
//
// A commit is reverted only if it, or one since the last healthy one, can be
// blamed: everything was healthy before them, and they changed something. All
// of them are taken back together, which is known to be enough. Reverts are not
// reverted, and their number is bounded, or they could answer each other. A
// commit that may be to blame but is not reverted is held; nothing is done about
// one that is not to blame, nor if there is nothing good to go back to.
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
	case f.healthy == "":
		return respondNot, "no earlier commit is known to be healthy"
	}
	why := ""
	switch {
	case f.mode == onFailureHold:
	case f.denied != nil:
		why = f.denied.Error()
	case f.reverts:
		why = "the commit is itself a revert"
	case !f.contained:
		why = "the branch does not contain it any more, or not what was healthy before it"
	case f.recent >= revertsPerHour:
		why = errTooManyReverts(f.recent).Error()
	default:
		return respondRevert, ""
	}
	return respondHold, why
}

// answer carries out headway.dev/on-failure if what is applied has failed,
// once for each attempt. It goes by what the status says, so that a restart
// forgets nothing.
func (k *kustomization) answer(ctx context.Context, h source.Head, want attempt) {
	ks := k.get()
	if ks == nil || ctx.Err() != nil || k.answered == want {
		return
	}
	st := stateOf(ks)
	src := k.s.sources.Get(flux.SourceKey(ks))
	if st.result != wire.VerdictFailed || st.revision != ks.Status.LastAppliedRevision || src == nil {
		return
	}
	if now, _ := src.Current(); now.Commit != h.Commit {
		return // a newer commit is there: it is tried first
	}
	k.answered = want
	bad, _ := git.ParseRevision(st.revision)
	f, err := k.failing(ks, st, h, bad.Commit)
	if err != nil {
		k.s.env.Log.Error("answer the failed commit", "kustomization", k.name(), "revision", st.revision, "err", err)
		f.contained = false
	}
	reason := k.failure(ks)
	what, why := f.respond()
	switch what {
	case respondNot:
		if why != "" {
			k.s.env.Record(ks, corev1.EventTypeWarning, "NotReverted", fmt.Sprintf("commit %s failed and stays applied: %s", bad.Commit, why))
		}
		return
	case respondRevert:
		err := k.revertFailed(ctx, src, h, st.healthy, reason)
		if err == nil || ctx.Err() != nil {
			return
		}
		k.s.env.Log.Error("revert the failed commit", "kustomization", k.name(), "commit", bad.Commit, "err", err)
		if write.Temporary(err) && stateOf(ks).healthy != "" {
			k.quarantine(ctx, ks, h, revertPending, reason+pendingText+flux.Bounded(err.Error())+pendingEnd)
			return
		}
		why = "it cannot be reverted: " + err.Error()
	case respondHold:
	}
	if f.mode == onFailureRevert {
		k.s.env.Record(ks, corev1.EventTypeWarning, "NotReverted", fmt.Sprintf("commit %s failed and is not reverted: %s", bad.Commit, why))
		reason += "; it is not reverted automatically, because " + why + "; revert it by hand, or push a commit that mends it"
	}
	if stateOf(ks).healthy == "" {
		return // nothing is known to be good
	}
	k.quarantine(ctx, ks, h, meta.HealthCheckFailedReason, reason)
}

// failing gathers what the answer to a failed commit depends on.
func (k *kustomization) failing(ks *kustomizev1.Kustomization, st state, h source.Head, sha string) (failing, error) {
	f := failing{mode: ks.Annotations[flux.OnFailure], state: st}
	good, ok := git.ParseRevision(st.healthy)
	if f.mode != onFailureRevert || !ok {
		return f, nil
	}
	f.denied = k.s.rights.MayWriteGit(ks)
	var err error
	if f.contained, err = history.IsAncestor(h.Repo, sha, h.Commit); err != nil || !f.contained {
		return f, err
	}
	if f.contained, err = history.IsAncestor(h.Repo, good.Commit, sha); err != nil || !f.contained {
		return f, err
	}
	if f.reverts, err = k.s.revertsOnly(h.Repo, good.Commit, sha); err != nil {
		return f, err
	}
	f.recent, err = k.s.recentReverts(h, sourceName(ks), k.s.env.Now())
	return f, err
}

// revertsOnly reports whether a failed commit is an automatic revert, or there
// are only reverts since the one that was healthy.
func (s *Syncer) revertsOnly(repo *git.Repository, good, sha string) (bool, error) {
	c, err := repo.Commit(sha)
	if err != nil || c.Reverts() == "" {
		return false, err
	}
	if s.automatic(c) {
		return true, nil
	}
	list, err := history.Between(repo, good, sha, gate.MaxCommits)
	return !slices.ContainsFunc(list, func(c git.Commit) bool { return c.Reverts() == "" && len(c.Parents) < 2 }), err
}

// automatic reports whether a commit is a revert in the server's own name.
func (s *Syncer) automatic(c git.Commit) bool {
	return c.Reverts() != "" && c.Author.Name == s.cfg.Identity.Name && c.Author.Email == s.cfg.Identity.Email
}

// failure is why the applied commit failed.
func (k *kustomization) failure(ks *kustomizev1.Kustomization) string {
	if k.reason != "" {
		return k.reason
	}
	// After a restart the condition knows, if it waits for the verdict.
	if c := (flux.Conditions{List: &ks.Status.Conditions}).Get(meta.ReadyCondition); c != nil && c.Reason == meta.HealthCheckFailedReason {
		return c.Message
	}
	return "health check failed"
}
