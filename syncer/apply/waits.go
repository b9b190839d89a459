package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/parents"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/source"
	"headway.dev/syncer/verdict"
)

// A commit may change a Kustomization and the files that it applies. So that
// nothing is applied with the spec of the commit before, one that is declared
// in the source that it follows waits until the Kustomization that declares
// it, its parent, has applied the commit; and one that declares itself is
// applied with the spec that it declares.

// errParent says that the parent has yet to apply the head. Nothing is wrong,
// and the parent wakes the Kustomization.
var errParent = errors.New("what declares the Kustomization is being applied")

// follows fails while the parent has yet to apply the head: with errParent if
// it is about to, and otherwise, if what it declares of this one at the head
// is not what is stored, with the reason for the status.
func (k *kustomization) follows(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head) error {
	p := parents.Of(k.s.Env.Store, ks)
	var key object.Key
	if p != nil && !parents.AwaitedBy(k.s.Env.Store, p, k.key) {
		key = flux.KeyOf(p)
	}
	k.board.Follow(key)
	switch {
	case key == object.Key{}:
		return nil
	case p.Status.LastAppliedRevision == h.Revision() && p.Status.ObservedGeneration == p.Generation:
		return k.successorFollows(ctx, ks, p, h)
	case !k.s.stalled(p, h):
		return errParent
	case k.s.declaredAsStored(ctx, p, ks, h):
		return nil
	}
	return fault.New(meta.DependencyNotReadyReason, fmt.Errorf("the Kustomization '%s/%s', which declares this one, has not applied %s, and may change it", p.Namespace, p.Name, h.Revision()))
}

// successorFollows is for the moment in which the parent has dropped its child and
// another Kustomization is about to take it over.
func (k *kustomization) successorFollows(ctx context.Context, ks, parent *kustomizev1.Kustomization, h source.Head) error {
	k.s.mu.Lock()
	loop := k.s.kustomizations[flux.KeyOf(parent)]
	k.s.mu.Unlock()
	if loop == nil || loop.planner.Wants(k.key) {
		return nil
	}
	successor, ok := k.s.Neighbours.Of(k.key, flux.SourceKey(ks), h).Successor(ctx, k.key)
	if !ok || successor.Unsure || successor.Owner == (plan.Owner{Namespace: parent.Namespace, Name: parent.Name}) {
		return nil
	}
	next, ok := k.s.Env.Store.Get(owners.KeyOf(successor.Owner)).(*kustomizev1.Kustomization)
	if !ok || flux.SourceKey(next) != flux.SourceKey(ks) || next.Status.LastAppliedRevision == h.Revision() || k.s.stalled(next, h) || parents.AwaitedBy(k.s.Env.Store, next, k.key) {
		return nil
	}
	k.board.Follow(owners.KeyOf(successor.Owner))
	return errParent
}

// stalled reports whether a Kustomization has looked at the head and has not applied
// it, and will not before something changes. It goes by the status, whose
// changes wake those that wait.
func (s *Set) stalled(ks *kustomizev1.Kustomization, h source.Head) bool {
	set := flux.Conditions{List: &ks.Status.Conditions}
	switch ready := set.Get(meta.ReadyCondition); {
	case verdict.Of(ks).Quarantined == h.Revision():
		return true
	case ks.Status.LastAttemptedRevision != h.Revision():
		return false
	default:
		return ready != nil && ready.Status == metav1.ConditionFalse || set.Get(flux.FrozenCondition) != nil
	}
}

// declaredAsStored reports whether applying the head's files of parent would leave
// the child as it is.
func (s *Set) declaredAsStored(ctx context.Context, parent, child *kustomizev1.Kustomization, h source.Head) bool {
	items, _ := s.Neighbours.Of(flux.KeyOf(child), flux.SourceKey(parent), h).Declared(ctx, parent, time.Now().Add(render.Patience))
	return parents.LeavesAsStored(ctx, s.Env.Store, items, parent, flux.KeyOf(child))
}

// dependencies fails while one of spec.dependsOn is not ready, or has yet to
// apply the head if it follows the same source: a commit that adds a database
// and what uses it brings the database first.
func (k *kustomization) dependencies(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head) error {
	deps := flux.Dependencies(ks)
	k.board.DependOn(deps)
	if err := k.exprs.DependOn(ks); err != nil {
		return verdict.BadExpression(err)
	}
	for i, key := range deps {
		if err := k.s.Rights.MayDependOn(ctx, ks, key); err != nil {
			return err
		}
		dep, ok := k.s.Env.Store.Get(key).(*kustomizev1.Kustomization)
		why := ""
		// As in Flux the expression stands in place of the usual conditions.
		custom := ks.Spec.DependsOn[i].ReadyExpr
		ready := false
		if ok && custom != "" {
			var err error
			if ready, err = k.exprs.ReadyExpr(custom, ks, dep); err != nil {
				return verdict.BadExpression(fmt.Errorf("dependency '%s/%s': %w", key.Namespace, key.Name, err))
			}
		}
		switch {
		case !ok:
			why = "not found"
		case custom != "" && !ready:
			why = "is not ready according to readyExpr eval"
		case custom != "":
			continue
		case !flux.IsReady(dep) || dep.Status.ObservedGeneration != dep.Generation:
			why = "is not ready"
		case flux.SourceKey(dep) == flux.SourceKey(ks) && dep.Status.LastAppliedRevision != h.Revision():
			why = "revision is not up to date"
		default:
			continue
		}
		return fault.New(meta.DependencyNotReadyReason, fmt.Errorf("dependency '%s/%s' %s", key.Namespace, key.Name, why))
	}
	return nil
}
