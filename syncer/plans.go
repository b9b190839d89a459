package syncer

import (
	"context"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/wire"
)

// Plan says what a revision or a set of files would change, and changes
// nothing.
func (s *Syncer) Plan(ctx context.Context, req wire.PlanRequest) (wire.Plans, error) {
	return s.previews.Plan(ctx, req)
}

// Diff says which objects and fields differ between two commits, as the
// Kustomizations of a source render them. It changes nothing.
func (s *Syncer) Diff(ctx context.Context, req wire.DiffRequest) (wire.Plans, error) {
	return s.previews.Diff(ctx, req)
}

// Fork implements preview.Loops.
func (l loops) Fork(ctx context.Context, key object.Key) (*plan.Planner, *render.Renderer) {
	if k := l.s.kustomization(key); k != nil {
		return k.planner.Fork(), k.renderer.Fork(ctx)
	}
	return plan.New(), render.New(l.s.env, l.s.rights)
}

// Input implements preview.Loops.
func (l loops) Input(ks *kustomizev1.Kustomization, items []load.Item) (plan.Input, error) {
	return newKustomization(l.s, flux.KeyOf(ks)).input(ks, items)
}

// Applied implements preview.Loops.
func (l loops) Applied(key object.Key) history.Applied { return l.s.appliedBy(key) }
