package syncer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/rollback"
	"headway.dev/syncer/source"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

const (
	// revertPending is the reason of a quarantine during which the revert of
	// the commit is tried again and again. It is part of the status, so that a
	// restart goes on with it.
	revertPending = "RevertPending"
	// pendingText stands in the quarantine's message between why the commit
	// failed and why it is not reverted yet.
	pendingText = "; its revert failed and is tried again: "
)

// revertTries says when a revert is tried again.
type revertTries struct {
	failures int
	due      time.Time
}

// revertFailed takes back automatically all that the head has since the
// revision that was healthy last, and journals that. What was not applied yet
// is among it: on top of what failed nobody can say that it would be.
func (k *kustomization) revertFailed(ctx context.Context, src *source.Source, h source.Head, healthy, reason string) error {
	good, ok := git.ParseRevision(healthy)
	if !ok {
		return fmt.Errorf("no earlier commit is known to be healthy (%q)", healthy)
	}
	c, err := h.Repo.Commit(h.Commit)
	if err != nil {
		return err
	}
	author := k.s.rollbacks.Identity.At(k.s.env.Now())
	res, err := k.s.rollbacks.Revert(ctx, src, rollback.Undo{Commit: c.SHA, Since: good.Commit, Extra: health.WithoutWords(reason), Author: author})
	if errors.Is(err, write.ErrNothingToRevert) {
		src.Wake()
		return nil
	}
	if err != nil {
		return err
	}
	entry := &wire.Entry{
		Type: wire.EntryReverted, Time: k.s.env.Now(), Source: src.Name(), Kustomization: k.name(), Revision: res.Branch + "@sha1:" + c.SHA,
		Commit: source.Commit(c), Reason: flux.Bounded(fmt.Sprintf("commit %s takes back all since %s: %s", res.Revert, good.Commit, reason)),
	}
	if _, err := k.s.journal.Commit(ctx, change.Tx{}, entry); err != nil && ctx.Err() == nil {
		k.s.env.Log.Error("write the journal", "kustomization", k.name(), "err", err)
	}
	return nil
}

// retryRevert tries the revert of the commit in quarantine again, if it could
// not be pushed for a reason that passes, and it is time.
func (k *kustomization) retryRevert(ctx context.Context, h source.Head) {
	ks := k.get()
	if ks == nil || ctx.Err() != nil {
		return
	}
	c := (flux.Conditions{List: &ks.Status.Conditions}).Get(verdict.QuarantinedCondition)
	src := k.s.sources.Get(flux.SourceKey(ks))
	if c == nil || c.Reason != revertPending || ks.Annotations[flux.OnFailure] != verdict.OnFailureRevert || src == nil {
		k.tries = revertTries{}
		return
	}
	now := k.s.env.Now()
	if k.tries.due.IsZero() {
		k.tries.due = now.Add(env.Retry.After(k.tries.failures))
	}
	if now.Before(k.tries.due) {
		return
	}
	why := failureIn(c.Message)
	err := k.revertHeld(ctx, ks, src, h, verdict.QuarantinedRevision(c.Message), why)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		k.tries = revertTries{}
		k.pendingOver(ctx, ks, "")
	case write.Temporary(err):
		k.tries.failures++
		k.tries.due = k.s.env.Now().Add(env.Retry.After(k.tries.failures))
		k.s.env.Log.Warn("revert the failed commit", "kustomization", k.name(), "failures", k.tries.failures, "err", err)
	default:
		k.tries = revertTries{}
		k.pendingOver(ctx, ks, "; it is not reverted automatically, because it cannot be reverted: "+flux.Bounded(err.Error())+"; revert it by hand, or push a commit that mends it")
	}
}

// revertHeld reverts the commit in quarantine if that is still called for.
func (k *kustomization) revertHeld(ctx context.Context, ks *kustomizev1.Kustomization, src *source.Source, h source.Head, revision, why string) error {
	bad, ok := git.ParseRevision(revision)
	if !ok {
		return fmt.Errorf("revision %q cannot be read", revision)
	}
	if err := k.s.rights.MayWriteGit(ks); err != nil {
		return err
	}
	if on, err := history.IsAncestor(h.Repo, bad.Commit, h.Commit); err != nil || !on {
		return errors.Join(fmt.Errorf("the branch does not contain commit %s any more", bad.Commit), err)
	}
	recent, err := k.s.rollbacks.Recent(h, src.Name(), k.s.env.Now())
	if err != nil {
		return err
	}
	if recent >= verdict.RevertsPerHour {
		return verdict.TooManyReverts(recent)
	}
	return k.revertFailed(ctx, src, h, verdict.Of(ks).Healthy, why)
}

// pendingOver ends the tries: the quarantine stays, with a note in place of
// what the last try said.
func (k *kustomization) pendingOver(ctx context.Context, ks *kustomizev1.Kustomization, note string) {
	now := metav1.NewTime(k.s.env.Now())
	tx := change.Tx{Changes: []change.Change{change.PatchStatus(k.key, func(o object.Object) bool {
		cur, ok := o.(*kustomizev1.Kustomization)
		if !ok {
			return false
		}
		set := flux.Conditions{List: &cur.Status.Conditions, Generation: cur.Generation, Now: now}
		c := set.Get(verdict.QuarantinedCondition)
		if c == nil || c.Reason != revertPending {
			return false
		}
		set.Put(verdict.QuarantinedCondition, c.Status, meta.HealthCheckFailedReason, withoutPending(c.Message, note))
		if r := set.Get(meta.ReadyCondition); r != nil && r.Status == metav1.ConditionFalse {
			set.Put(meta.ReadyCondition, r.Status, r.Reason, withoutPending(r.Message, note))
		}
		return true
	})}}
	if _, err := k.s.env.Store.Commit(ctx, tx); err != nil && ctx.Err() == nil {
		k.s.env.Log.Error("write the quarantine", "kustomization", ks.Namespace+"/"+ks.Name, "err", err)
	}
}

// failureIn is why the commit failed, in a quarantine's message.
func failureIn(message string) string {
	_, rest, _ := strings.Cut(message, ": ")
	why, _, _ := strings.Cut(rest, pendingText)
	return why
}

// withoutPending puts a note in place of what a message says about the tries,
// which ends before what stays applied.
func withoutPending(message, note string) string {
	before, rest, ok := strings.Cut(message, pendingText)
	if !ok {
		return message
	}
	end := strings.LastIndex(rest, pendingEnd)
	if end < 0 {
		return before + note
	}
	return before + note + rest[end+len(pendingEnd):]
}

// pendingEnd ends what the message says about the tries.
const pendingEnd = " (with back-off)"
