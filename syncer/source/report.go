package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
)

// report writes the source's status, if it changed.
func (src *Source) report(ctx context.Context, obj *sourcev1.GitRepository, err error, failures int, next time.Time) {
	now := metav1.NewTime(src.set.env.Now())
	head, _ := src.Current()
	src.mu.Lock()
	verified, form := src.verified, src.form
	src.mu.Unlock()
	revision := head.Revision()
	advanced := false
	edit := func(o object.Object) bool {
		g, ok := o.(*sourcev1.GitRepository)
		if !ok {
			return false
		}
		before := g.Status.DeepCopy()
		set := flux.Conditions{List: &g.Status.Conditions, Generation: obj.Generation, Now: now}
		g.Status.ObservedGeneration = obj.Generation
		g.Status.LastHandledReconcileAt = obj.Annotations[meta.ReconcileRequestAnnotation]
		if err == nil {
			advanced = !g.Status.Artifact.HasRevision(revision) || !sameSource(g)
			if advanced {
				g.Status.Artifact = &meta.Artifact{
					Revision: revision, Digest: "sha1:" + head.Commit, LastUpdateTime: now,
					Metadata: map[string]string{artifactURL: Redacted(g.Spec.URL)},
					Path:     fmt.Sprintf("gitrepository/%s/%s/%s", g.Namespace, g.Name, head.Commit),
				}
			}
			msg := fmt.Sprintf("stored artifact for revision '%s'", revision)
			set.Put(meta.ReadyCondition, metav1.ConditionTrue, meta.SucceededReason, msg)
			set.Put(sourcev1.ArtifactInStorageCondition, metav1.ConditionTrue, meta.SucceededReason, msg)
			set.Drop(sourcev1.FetchFailedCondition, meta.StalledCondition, meta.ReconcilingCondition, sourcev1.SourceVerifiedCondition, sourcev1.IncludeUnavailableCondition)
			form.report(g, now)
			g.Status.SourceVerificationMode = nil
			if v := g.Spec.Verification; v != nil {
				mode := v.GetMode()
				g.Status.SourceVerificationMode = &mode
				set.Put(sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, meta.SucceededReason, verified)
			}
		} else {
			reason, msg := sourcev1.GitOperationFailedReason, err.Error()
			if f := (*fault.Error)(nil); errors.As(err, &f) {
				reason = f.Reason
			}
			if unverified(reason) {
				set.Put(sourcev1.SourceVerifiedCondition, metav1.ConditionFalse, reason, msg)
			}
			if reason == includeNotFound || reason == includeNoArtifact {
				set.Put(sourcev1.IncludeUnavailableCondition, metav1.ConditionTrue, reason, msg)
			}
			if stalls(reason) {
				set.Put(meta.StalledCondition, metav1.ConditionTrue, reason, msg)
				set.Drop(meta.ReconcilingCondition)
			} else {
				since := now
				if c := set.Get(sourcev1.FetchFailedCondition); c != nil && c.Status == metav1.ConditionTrue {
					since = c.LastTransitionTime
				}
				msg = fmt.Sprintf("%s; failing since %s, attempt %d, next try at %s; what is applied keeps running",
					msg, since.UTC().Format(time.RFC3339), failures, next.UTC().Format(time.RFC3339))
				set.Put(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingWithRetryReason, msg)
				set.Drop(meta.StalledCondition)
			}
			set.Put(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reason, msg)
			set.Put(meta.ReadyCondition, metav1.ConditionFalse, reason, msg)
		}
		return !equality.Semantic.DeepEqual(before, &g.Status)
	}
	tx := change.Tx{Changes: []change.Change{change.PatchStatus(src.Key, edit)}}
	if err == nil && !obj.Status.Artifact.HasRevision(revision) {
		tx.Changes = append(tx.Changes, acceptances(src.set.env.Store, obj, head.Commit)...)
	}
	if _, cerr := src.set.env.Store.Commit(ctx, tx); cerr != nil && ctx.Err() == nil {
		src.set.env.Log.Error("write the status", "source", src.Name(), "err", cerr)
	}
	switch {
	case err != nil:
		src.set.env.Log.Warn("source failed", "source", src.Name(), "err", err, "attempt", failures, "next", next)
		if failures == 1 {
			src.set.env.Record(obj, corev1.EventTypeWarning, fault.ReasonOf(err, sourcev1.GitOperationFailedReason), err.Error())
		}
	case advanced:
		src.set.env.Log.Info("fetched", "source", src.Name(), "revision", revision)
		msg := fmt.Sprintf("stored artifact for revision '%s'", revision)
		if c, cerr := src.Commit(head.Commit); cerr == nil {
			msg = fmt.Sprintf("stored artifact for commit '%s'", c.Subject)
		}
		src.set.env.Record(obj, corev1.EventTypeNormal, "NewArtifact", msg)
	}
}
