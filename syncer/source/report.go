package source

import (
	"context"
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

// report writes the source's status, if it changed, and tells of what is new.
func (src *Source) report(ctx context.Context, obj *sourcev1.GitRepository, err error, failures int, next time.Time) {
	head, _ := src.Current()
	src.mu.Lock()
	s := &said{
		obj: obj, head: head, verified: src.verified, form: src.form, err: err, failures: failures, next: next,
		now: metav1.NewTime(src.set.env.Now()),
	}
	src.mu.Unlock()
	tx := change.Tx{Changes: []change.Change{change.PatchStatus(src.Key, s.edit)}}
	if err == nil && !obj.Status.Artifact.HasRevision(head.Revision()) {
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
	case s.advanced:
		src.set.env.Log.Info("fetched", "source", src.Name(), "revision", head.Revision())
		msg := s.stored()
		if c, cerr := src.Commit(head.Commit); cerr == nil {
			msg = fmt.Sprintf("stored artifact for commit '%s'", c.Subject)
		}
		src.set.env.Record(obj, corev1.EventTypeNormal, "NewArtifact", msg)
	}
}

// said is what the status says of one look at the source obj.
type said struct {
	obj      *sourcev1.GitRepository
	head     Head
	verified string
	form     shape
	err      error
	failures int
	next     time.Time
	now      metav1.Time
	// advanced reports whether the head is a new artifact, once it is written.
	advanced bool
}

// stored is the message about a head that was accepted.
func (s *said) stored() string {
	return fmt.Sprintf("stored artifact for revision '%s'", s.head.Revision())
}

// edit makes the status that of the look, and reports whether that changes it.
func (s *said) edit(o object.Object) bool {
	g, ok := o.(*sourcev1.GitRepository)
	if !ok {
		return false
	}
	before := g.Status.DeepCopy()
	set := flux.Conditions{List: &g.Status.Conditions, Generation: s.obj.Generation, Now: s.now}
	g.Status.ObservedGeneration = s.obj.Generation
	g.Status.LastHandledReconcileAt = flux.Of(s.obj).Request.Value
	if s.err == nil {
		s.succeeded(g, set)
	} else {
		s.failed(set)
	}
	return !equality.Semantic.DeepEqual(before, &g.Status)
}

// succeeded is the status of a head that was fetched, verified and accepted.
func (s *said) succeeded(g *sourcev1.GitRepository, set flux.Conditions) {
	s.advanced = !g.Status.Artifact.HasRevision(s.head.Revision()) || !sameSource(g)
	if s.advanced {
		g.Status.Artifact = &meta.Artifact{
			Revision: s.head.Revision(), Digest: "sha1:" + s.head.Commit, LastUpdateTime: s.now,
			Metadata: map[string]string{artifactURL: Redacted(g.Spec.URL)},
			Path:     fmt.Sprintf("gitrepository/%s/%s/%s", g.Namespace, g.Name, s.head.Commit),
		}
	}
	msg := s.stored()
	set.Put(meta.ReadyCondition, metav1.ConditionTrue, meta.SucceededReason, msg)
	set.Put(sourcev1.ArtifactInStorageCondition, metav1.ConditionTrue, meta.SucceededReason, msg)
	set.Drop(sourcev1.FetchFailedCondition, meta.StalledCondition, meta.ReconcilingCondition, sourcev1.SourceVerifiedCondition, sourcev1.IncludeUnavailableCondition)
	s.form.report(g, s.now)
	g.Status.SourceVerificationMode = nil
	if v := g.Spec.Verification; v != nil {
		mode := v.GetMode()
		g.Status.SourceVerificationMode = &mode
		set.Put(sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, meta.SucceededReason, s.verified)
	}
}

// failed are the conditions of a look that failed; the artifact stays.
func (s *said) failed(set flux.Conditions) {
	reason, msg := fault.ReasonOf(s.err, sourcev1.GitOperationFailedReason), s.err.Error()
	if unverified(reason) {
		set.Put(sourcev1.SourceVerifiedCondition, metav1.ConditionFalse, reason, msg)
	}
	if reason == flux.IncludeNotFoundReason || reason == flux.IncludeNoArtifactReason {
		set.Put(sourcev1.IncludeUnavailableCondition, metav1.ConditionTrue, reason, msg)
	}
	if stalls(reason) {
		set.Put(meta.StalledCondition, metav1.ConditionTrue, reason, msg)
		set.Drop(meta.ReconcilingCondition)
	} else {
		since := s.now
		if c := set.Get(sourcev1.FetchFailedCondition); c != nil && c.Status == metav1.ConditionTrue {
			since = c.LastTransitionTime
		}
		msg = fmt.Sprintf("%s; failing since %s, attempt %d, next try at %s; what is applied keeps running",
			msg, since.UTC().Format(time.RFC3339), s.failures, s.next.UTC().Format(time.RFC3339))
		set.Put(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingWithRetryReason, msg)
		set.Drop(meta.StalledCondition)
	}
	set.Put(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reason, msg)
	set.Put(meta.ReadyCondition, metav1.ConditionFalse, reason, msg)
}
