package writeback

import (
	"context"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/progress"
	"headway.dev/syncer/source"
)

// await waits until the commit is applied, and returns the object as it is
// stored then.
func (u *userWrite) await(ctx context.Context, src *source.Source, sha string) (object.Object, error) {
	events, stop := u.s.Env.Feed.Subscribe()
	defer stop()
	for {
		ks, ok := u.s.Env.Store.Get(flux.KeyOf(u.ks)).(*kustomizev1.Kustomization)
		if !ok {
			return nil, apierrors.NewInternalError(fmt.Errorf("commit %s is pushed, and the Kustomization that would apply it is gone", sha))
		}
		at, _ := src.Current()
		applied, _ := git.ParseRevision(ks.Status.LastAppliedRevision)
		if repo, err := at.Repository(); err == nil && applied.Commit != "" {
			if ok, err := history.IsAncestor(repo, sha, applied.Commit); err == nil && ok {
				return u.s.Env.Store.Get(u.key), nil
			}
		}
		if tried, ok := git.ParseRevision(ks.Status.LastAttemptedRevision); ok && tried.Commit == sha {
			if why := u.notApplied(ks); why != "" {
				return nil, apierrors.NewInternalError(fmt.Errorf("commit %s is pushed, and was not applied: %s", sha, why))
			}
		}
		select {
		case <-ctx.Done():
			return nil, apierrors.NewTimeoutError(fmt.Sprintf("commit %s is pushed, and not applied yet; see headway status", sha), 0)
		case <-events:
		case <-time.After(100 * time.Millisecond): // an event may have been missed
		}
	}
}

// notApplied is why the commit that was tried last is not applied, or empty if
// it may still be: what it waits for has not failed.
func (u *userWrite) notApplied(ks *kustomizev1.Kustomization) string {
	c := (flux.Conditions{List: &ks.Status.Conditions}).Get(meta.ReadyCondition)
	if c == nil || c.Status != metav1.ConditionFalse || ks.Status.LastAppliedRevision == ks.Status.LastAttemptedRevision {
		return ""
	}
	if c.Reason != meta.DependencyNotReadyReason {
		return c.Message
	}
	if _, runs := u.s.Loops.State(flux.KeyOf(ks)); !runs {
		return c.Message
	}
	if dep, ok := progress.BlockedBy(u.s.Loops, flux.KeyOf(ks), ks.Status.LastAttemptedRevision); ok {
		return "it waits for the Kustomization " + dep.Namespace + "/" + dep.Name + ", which failed"
	}
	return ""
}
