package parents

import (
	"context"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/tree"
)

// Render renders a Kustomization, and again with the spec that it declares for
// itself, until that says nothing new. It returns that spec's Kustomization.
func Render(ctx context.Context, r *render.Renderer, stored object.Reader, index *owners.Index, ks *kustomizev1.Kustomization, t tree.Tree, revision string) (*kustomizev1.Kustomization, []load.Item, error) {
	const most = 3 // one that renders another spec from each is its own fault
	for i := 0; ; i++ {
		items, err := r.Render(ctx, ks, t, revision)
		if err != nil || i == most {
			return ks, items, err
		}
		next := declaredBy(ctx, stored, index, ks, items)
		if next == nil {
			return ks, items, nil
		}
		ks = next
	}
}

// declaredBy is the Kustomization with the spec that it declares for itself among
// what it renders, or nil if that is the one it has.
func declaredBy(ctx context.Context, stored object.Reader, index *owners.Index, ks *kustomizev1.Kustomization, items []load.Item) *kustomizev1.Kustomization {
	key := flux.KeyOf(ks)
	i := declaring(items, key)
	if i < 0 {
		return nil
	}
	in := plan.Input{Items: items[i : i+1], Owner: owners.OwnerOf(flux.KeyOf(ks)), Claimed: index.ByOther(key), Ignore: ks.Spec.Ignore}
	res := plan.New(nil).Plan(ctx, in, rights.NewAfterwards(stored, map[object.Key]object.Object{key: ks}))
	if len(res.Errors) > 0 || len(res.Actions) != 1 || res.Actions[0].Object == nil {
		return nil // the plan of all tells what is wrong
	}
	next, ok := res.Actions[0].Object.(*kustomizev1.Kustomization)
	// With another source the files are others, and a suspended one applies
	// none: both are for the next attempt.
	if !ok || equality.Semantic.DeepEqual(next.Spec, ks.Spec) || flux.SourceKey(next) != flux.SourceKey(ks) || next.Spec.Suspend {
		return nil
	}
	out := ks.DeepCopy()
	out.Spec = next.Spec
	return out
}
