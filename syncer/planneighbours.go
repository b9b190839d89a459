package syncer

import (
	"context"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/render"
	"headway.dev/syncer/tree"
)

// neighbours are those of a Kustomization at what is planned.
func (p *planning) neighbours(self object.Key) *neighbours.Neighbours {
	n := p.s.neighbours.Without(self, p.source)
	n.Render = func(ctx context.Context, ks *kustomizev1.Kustomization) ([]load.Item, error) {
		id := flux.KeyOf(ks).String() + neighbours.Extent(ks)
		done, ok := p.rendered[id]
		if !ok {
			k := p.s.lookalike(ctx, flux.KeyOf(ks))
			// What the caller may not read shows in no neighbour either.
			k.lookFor(render.NewOnlooker(ctx, p.s.rights, p.rights(&planned{ks: ks})))
			done.Err = fault.Catch(func() (err error) {
				_, done.Items, err = k.renderSettled(ctx, ks, p.tree, p.target)
				return err
			})
			if p.rendered == nil {
				p.rendered = map[string]neighbours.Rendering{}
			}
			p.rendered[id] = done
		}
		return done.Items, done.Err
	}
	n.Files = func() (tree.Tree, error) { return p.tree, nil }
	n.Gone = func(key object.Key) bool {
		one := p.done[key]
		return one != nil && one.deleted
	}
	n.Hidden = func(key object.Key) bool { return p.s.rights.Permitted(p.ctx, "get", key) != nil }
	return n
}
