package status

import (
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
)

// Looked is what a look at a GitRepository brought.
type Looked struct {
	Generation int64
	Request    string // of reconcile.fluxcd.io/requestedAt, that is handled
	// Revision is the one that is accepted, and Commit its commit.
	Revision, Commit string
	Included         []Included
	// Verified says who signed it, if signatures are checked.
	Verified string
	// Err is why the look failed, for the Failures-th time in a row; Next is when the
	// next one is.
	Err      error
	Failures int
	Next     time.Time
}

// Included is what the tree has of another GitRepository.
type Included struct {
	Source           object.Key
	Revision, Commit string
}

// Message is what the status says of a look that brought something.
func (l Looked) Message() string { return fmt.Sprintf("stored artifact for revision '%s'", l.Revision) }

// Change notes the look. It sets advanced if there is a new artifact.
func (l Looked) Change(key object.Key, at time.Time, advanced *bool) change.Change {
	now := metav1.NewTime(at)
	return change.PatchStatus(key, func(o object.Object) bool {
		g, ok := o.(*sourcev1.GitRepository)
		if !ok {
			return false
		}
		before := g.Status.DeepCopy()
		set := flux.Conditions{List: &g.Status.Conditions, Generation: l.Generation, Now: now}
		g.Status.ObservedGeneration = l.Generation
		g.Status.LastHandledReconcileAt = l.Request
		if l.Err == nil {
			*advanced = l.accepted(g, set)
		} else {
			l.failed(set)
		}
		return !equality.Semantic.DeepEqual(before, &g.Status)
	})
}

// accepted notes what was fetched, and reports whether it is another artifact than
// before.
func (l Looked) accepted(g *sourcev1.GitRepository, set flux.Conditions) bool {
	advanced := flux.Fetched(g) != l.Revision
	if advanced {
		g.Status.Artifact = &meta.Artifact{
			Revision: l.Revision, Digest: "sha1:" + l.Commit, LastUpdateTime: set.Now,
			Metadata: flux.FetchedFrom(g),
			Path:     artifactPath(object.Key{Namespace: g.Namespace, Name: g.Name}, l.Commit),
		}
	}
	set.Put(meta.ReadyCondition, metav1.ConditionTrue, meta.SucceededReason, l.Message())
	set.Put(sourcev1.ArtifactInStorageCondition, metav1.ConditionTrue, meta.SucceededReason, l.Message())
	set.Drop(sourcev1.FetchFailedCondition, meta.StalledCondition, meta.ReconcilingCondition, sourcev1.SourceVerifiedCondition, sourcev1.IncludeUnavailableCondition)
	l.madeOf(g, set.Now)
	g.Status.SourceVerificationMode = nil
	if v := g.Spec.Verification; v != nil {
		mode := v.GetMode()
		g.Status.SourceVerificationMode = &mode
		set.Put(sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, meta.SucceededReason, l.Verified)
	}
	return advanced
}

// madeOf notes what the artifact was made of.
func (l Looked) madeOf(g *sourcev1.GitRepository, now metav1.Time) {
	st := &g.Status
	st.ObservedInclude, st.ObservedSparseCheckout, st.ObservedIgnore = g.Spec.Include, g.Spec.SparseCheckout, g.Spec.Ignore
	before := st.IncludedArtifacts
	st.IncludedArtifacts = nil
	for _, in := range l.Included {
		a := &meta.Artifact{Revision: in.Revision, LastUpdateTime: now, Digest: "sha1:" + in.Commit, Path: artifactPath(in.Source, in.Commit)}
		for _, old := range before {
			if old.HasRevision(a.Revision) {
				a.LastUpdateTime = old.LastUpdateTime
			}
		}
		st.IncludedArtifacts = append(st.IncludedArtifacts, a)
	}
}

func artifactPath(key object.Key, commit string) string {
	return fmt.Sprintf("gitrepository/%s/%s/%s", key.Namespace, key.Name, commit)
}

// failed notes that nothing new was accepted; what is applied keeps running.
func (l Looked) failed(set flux.Conditions) {
	reason, msg := fault.ReasonOf(l.Err, sourcev1.GitOperationFailedReason), l.Err.Error()
	if Unverified(reason) {
		set.Put(sourcev1.SourceVerifiedCondition, metav1.ConditionFalse, reason, msg)
	}
	if reason == flux.IncludeNotFoundReason || reason == flux.IncludeNoArtifactReason {
		set.Put(sourcev1.IncludeUnavailableCondition, metav1.ConditionTrue, reason, msg)
	}
	if Stalls(reason) {
		set.Put(meta.StalledCondition, metav1.ConditionTrue, reason, msg)
		set.Drop(meta.ReconcilingCondition)
	} else {
		since := set.Now
		if c := set.Get(sourcev1.FetchFailedCondition); c != nil && c.Status == metav1.ConditionTrue {
			since = c.LastTransitionTime
		}
		msg = fmt.Sprintf("%s; failing since %s, attempt %d, next try at %s; what is applied keeps running",
			msg, since.UTC().Format(time.RFC3339), l.Failures, l.Next.UTC().Format(time.RFC3339))
		set.Put(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingWithRetryReason, msg)
		set.Drop(meta.StalledCondition)
	}
	set.Put(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reason, msg)
	set.Put(meta.ReadyCondition, metav1.ConditionFalse, reason, msg)
}

// Unverified reports whether a reason is one of signatures.
func Unverified(reason string) bool {
	return slices.Contains([]string{
		sourcev1.VerificationError, flux.InvalidVerificationModeReason, flux.InvalidGitObjectReason, flux.InvalidTagSignatureReason, flux.InvalidCommitSignatureReason,
	}, reason)
}

// Stalls reports whether a reason lasts until somebody changes the GitRepository.
func Stalls(reason string) bool {
	return slices.Contains([]string{flux.HistoryRewrittenReason, flux.InvalidVerificationModeReason, sourcev1.InvalidProviderConfigurationReason}, reason)
}
