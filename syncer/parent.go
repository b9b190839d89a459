package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
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

// parent is the Kustomization that has applied this one and follows the same
// source; nil if there is none, or it does nothing at present.
func (k *kustomization) parent(ks *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	owner, ok := plan.OwnerOf(ks)
	if !ok || owner == k.owner() {
		return nil
	}
	p, ok := k.s.env.Store.Get(owners.KeyOf(owner)).(*kustomizev1.Kustomization)
	if !ok || p.Spec.Suspend || p.DeletionTimestamp != nil || flux.SourceKey(p) != flux.SourceKey(ks) || p.Spec.SourceRef.Kind != ks.Spec.SourceRef.Kind || p.Status.Inventory == nil {
		return nil
	}
	// Anyone can write labels.
	id := flux.Inventory([]object.Key{k.key}).Entries[0].ID
	if !slices.ContainsFunc(p.Status.Inventory.Entries, func(e kustomizev1.ResourceRef) bool { return e.ID == id }) {
		return nil
	}
	return p
}

// follows fails while the parent has yet to apply the head: with errParent if
// it is about to, and otherwise, if what it declares of this one at the head
// is not what is stored, with the reason for the status.
func (k *kustomization) follows(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head) error {
	p := k.parent(ks)
	var key object.Key
	if p != nil && !k.s.dependsOn(p, k.key) {
		key = flux.KeyOf(p)
	}
	k.mu.Lock()
	k.elder = key
	k.mu.Unlock()
	switch {
	case key == object.Key{}:
		return nil
	case p.Status.LastAppliedRevision == h.Revision() && p.Status.ObservedGeneration == p.Generation:
		return k.heirFollows(ctx, ks, p, h)
	case !k.s.held(p, h):
		return errParent
	case k.s.declaredAsStored(ctx, p, ks, h):
		return nil
	}
	return fault.New(meta.DependencyNotReadyReason, fmt.Errorf("the Kustomization '%s/%s', which declares this one, has not applied %s, and may change it", p.Namespace, p.Name, h.Revision()))
}

// heirFollows is for the moment in which the parent has dropped its child and
// another Kustomization is about to take it over.
func (k *kustomization) heirFollows(ctx context.Context, ks, parent *kustomizev1.Kustomization, h source.Head) error {
	k.s.mu.Lock()
	loop := k.s.kustomizations[flux.KeyOf(parent)]
	k.s.mu.Unlock()
	if loop == nil || loop.planner.Wants(k.key) {
		return nil
	}
	heir, ok := k.s.neighbours.Of(k.key, flux.SourceKey(ks), h).Heir(ctx, k.key)
	if !ok || heir.Unsure || heir.Owner == (plan.Owner{Namespace: parent.Namespace, Name: parent.Name}) {
		return nil
	}
	next, ok := k.s.env.Store.Get(owners.KeyOf(heir.Owner)).(*kustomizev1.Kustomization)
	if !ok || flux.SourceKey(next) != flux.SourceKey(ks) || next.Status.LastAppliedRevision == h.Revision() || k.s.held(next, h) || k.s.dependsOn(next, k.key) {
		return nil
	}
	k.mu.Lock()
	k.elder = owners.KeyOf(heir.Owner)
	k.mu.Unlock()
	return errParent
}

// held reports whether a Kustomization has looked at the head and has not applied
// it, and will not before something changes. It goes by the status, whose
// changes wake those that wait.
func (s *Syncer) held(ks *kustomizev1.Kustomization, h source.Head) bool {
	set := flux.Conditions{List: &ks.Status.Conditions}
	switch ready := set.Get(meta.ReadyCondition); {
	case verdict.Of(ks).Quarantined == h.Revision():
		return true
	case ks.Status.LastAttemptedRevision != h.Revision():
		return false
	default:
		return ready != nil && ready.Status == metav1.ConditionFalse || set.Get(verdict.FrozenCondition) != nil
	}
}

// declaredAsStored reports whether applying the head's files of parent would leave
// the child as it is.
func (s *Syncer) declaredAsStored(ctx context.Context, parent, child *kustomizev1.Kustomization, h source.Head) bool {
	items, _ := s.neighbours.Of(flux.KeyOf(child), flux.SourceKey(parent), h).Declared(ctx, parent, time.Now().Add(render.Patience))
	return s.leavesAsStored(items, parent, flux.KeyOf(child))
}

// leavesAsStored reports whether what parent declares leaves the child as it is.
func (s *Syncer) leavesAsStored(items []load.Item, parent *kustomizev1.Kustomization, child object.Key) bool {
	i := declaring(items, child)
	if i < 0 {
		return false
	}
	in := plan.Input{Items: items[i : i+1], Owner: plan.Owner{Namespace: parent.Namespace, Name: parent.Name}, Ignore: parent.Spec.Ignore}
	res := plan.New().Plan(in, s.env.Store)
	return len(res.Errors) == 0 && !res.Changes()
}

// declaring is the index of the item that declares a Kustomization, or -1.
func declaring(items []load.Item, key object.Key) int {
	return slices.IndexFunc(items, func(it load.Item) bool {
		if _, ok := it.Object.(*kustomizev1.Kustomization); !ok {
			return false
		}
		declared, err := plan.KeyOf(it.Object)
		return err == nil && declared == key
	})
}

// dependsOn reports whether a Kustomization waits for another, by spec.dependsOn
// or for a parent, also by way of others.
func (s *Syncer) dependsOn(ks *kustomizev1.Kustomization, key object.Key) bool {
	seen := map[object.Key]bool{}
	for queue := []*kustomizev1.Kustomization{ks}; len(queue) > 0; queue = queue[1:] {
		for _, dep := range s.awaited(queue[0]) {
			if dep == key {
				return true
			}
			if next, ok := s.env.Store.Get(dep).(*kustomizev1.Kustomization); ok && !seen[dep] {
				seen[dep] = true
				queue = append(queue, next)
			}
		}
	}
	return false
}

// awaited are the Kustomizations that one waits for.
func (s *Syncer) awaited(ks *kustomizev1.Kustomization) []object.Key {
	list := flux.Dependencies(ks)
	s.mu.Lock()
	k := s.kustomizations[flux.KeyOf(ks)]
	s.mu.Unlock()
	if k != nil {
		if p := k.parent(ks); p != nil {
			list = append(list, flux.KeyOf(p))
		}
	}
	return list
}

// selfDeclared is the Kustomization with the spec that it declares for itself
// among what it renders, or nil if that is the one it has.
func (k *kustomization) selfDeclared(ks *kustomizev1.Kustomization, items []load.Item) *kustomizev1.Kustomization {
	i := declaring(items, k.key)
	if i < 0 {
		return nil
	}
	in := plan.Input{Items: items[i : i+1], Owner: k.owner(), Claimed: k.s.owners.ByOther(k.key), Ignore: ks.Spec.Ignore}
	stored := rights.NewAfterwards(k.s.env.Store, map[object.Key]object.Object{k.key: ks})
	res := plan.New().Plan(in, stored)
	if len(res.Errors) > 0 || len(res.Actions) != 1 || res.Actions[0].Object == nil {
		return nil // the plan of all tells what is wrong
	}
	next, ok := res.Actions[0].Object.(*kustomizev1.Kustomization)
	// With another source the files are others, and a suspended one applies
	// none: both are for the next attempt.
	if !ok || equality.Semantic.DeepEqual(next.Spec, ks.Spec) || flux.SourceKey(next) != flux.SourceKey(ks) || next.Spec.SourceRef.Kind != ks.Spec.SourceRef.Kind || next.Spec.Suspend {
		return nil
	}
	out := ks.DeepCopy()
	out.Spec = next.Spec
	return out
}

// renderSettled renders, and again with the spec that the Kustomization
// declares for itself, until that says nothing new. It returns that spec's
// Kustomization.
func (k *kustomization) renderSettled(ctx context.Context, ks *kustomizev1.Kustomization, t tree.Tree, revision string) (*kustomizev1.Kustomization, []load.Item, error) {
	const most = 3 // one that renders another spec from each is its own fault
	for i := 0; ; i++ {
		items, err := k.renderer.Render(ctx, ks, t, revision)
		if err != nil || i == most {
			return ks, items, err
		}
		next := k.selfDeclared(ks, items)
		if next == nil {
			return ks, items, nil
		}
		ks = next
	}
}
