package respond

import (
	"context"
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/health"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/rollback"
	"headway.dev/syncer/source"
	"headway.dev/syncer/status"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// revertTries says when a revert is tried again.
type revertTries struct {
	failures int
	due      time.Time
}

// revertFailed takes back automatically all that the head has since the
// revision that was healthy last, and journals that. What was not applied yet
// is among it: on top of what failed nobody can say that it would be.
func (r *Responder) revertFailed(ctx context.Context, src *source.Source, h source.Head, healthy, reason string) error {
	good, ok := git.ParseRevision(healthy)
	if !ok {
		return fmt.Errorf("no earlier commit is known to be healthy (%q)", healthy)
	}
	repo, err := h.Repository()
	if err != nil {
		return err
	}
	c, err := repo.Commit(h.Commit)
	if err != nil {
		return err
	}
	author := r.Rollbacks.Identity.At(r.Env.Now())
	res, err := r.Rollbacks.Revert(ctx, src, rollback.Undo{Commit: c.SHA, Since: good.Commit, Extra: health.WithoutWords(reason), Author: author})
	if errors.Is(err, write.ErrNothingToRevert) {
		src.Wake()
		return nil
	}
	if err != nil {
		return err
	}
	entry := &wire.Entry{
		Type: wire.EntryReverted, Time: r.Env.Now(), Source: src.Name(), Kustomization: r.name(), Revision: res.Branch + "@sha1:" + c.SHA,
		Commit: source.Commit(c), Reason: flux.Bounded(fmt.Sprintf("commit %s takes back all since %s: %s", res.Revert, good.Commit, reason)),
	}
	if _, err := r.Journal.Commit(ctx, change.Tx{}, entry); err != nil && ctx.Err() == nil {
		r.Env.Log.Error("write the journal", "kustomization", r.name(), "err", err)
	}
	return nil
}

// RetryRevert tries the revert of the commit in quarantine again, if it could
// not be pushed for a reason that passes, and it is time.
func (r *Responder) RetryRevert(ctx context.Context, h source.Head) {
	ks := r.get()
	if ks == nil || ctx.Err() != nil {
		return
	}
	pending := status.Pending(ks)
	src := r.Sources.Get(flux.SourceKey(ks))
	if pending == nil || flux.Of(ks).OnFailure.Value != flux.OnFailureRevert || src == nil {
		r.tries = revertTries{}
		return
	}
	now := r.Env.Now()
	if r.tries.due.IsZero() {
		r.tries.due = now.Add(env.Retry.After(r.tries.failures))
	}
	if now.Before(r.tries.due) {
		return
	}
	err := r.revertHeld(ctx, ks, src, h, pending.Revision, pending.Why)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		r.tries = revertTries{}
		r.pendingOver(ctx, ks, "")
	case write.Temporary(err):
		r.tries.failures++
		r.tries.due = r.Env.Now().Add(env.Retry.After(r.tries.failures))
		r.Env.Log.Warn("revert the failed commit", "kustomization", r.name(), "failures", r.tries.failures, "err", err)
	default:
		r.tries = revertTries{}
		r.pendingOver(ctx, ks, "; it is not reverted automatically, because it cannot be reverted: "+flux.Bounded(err.Error())+"; revert it by hand, or push a commit that mends it")
	}
}

// revertHeld reverts the commit in quarantine if that is still called for.
func (r *Responder) revertHeld(ctx context.Context, ks *kustomizev1.Kustomization, src *source.Source, h source.Head, revision, why string) error {
	bad, ok := git.ParseRevision(revision)
	if !ok {
		return fmt.Errorf("revision %q cannot be read", revision)
	}
	if err := r.Rights.MayWriteGit(ks); err != nil {
		return err
	}
	repo, err := h.Repository()
	if err != nil {
		return err
	}
	if on, err := history.IsAncestor(repo, bad.Commit, h.Commit); err != nil || !on {
		return errors.Join(fmt.Errorf("the branch does not contain commit %s any more", bad.Commit), err)
	}
	recent, err := r.Rollbacks.Recent(h, src.Name(), r.Env.Now())
	if err != nil {
		return err
	}
	if recent >= verdict.RevertsPerHour {
		return verdict.TooManyReverts(recent)
	}
	return r.revertFailed(ctx, src, h, verdict.Of(ks).Healthy, why)
}

// pendingOver ends the tries: the quarantine stays, with a note in place of
// what the last try said.
func (r *Responder) pendingOver(ctx context.Context, ks *kustomizev1.Kustomization, note string) {
	tx := change.Tx{Changes: []change.Change{status.PendingOver(note, r.Env.Now()).Change(r.Key)}}
	if _, err := r.Env.Store.Commit(ctx, tx); err != nil && ctx.Err() == nil {
		r.Env.Log.Error("write the quarantine", "kustomization", ks.Namespace+"/"+ks.Name, "err", err)
	}
}
