package preview

import (
	"context"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/parents"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/preview/content"
	"headway.dev/syncer/render"
	"headway.dev/syncer/tree"
)

// A plan can be asked for by whoever may propose a commit, and what the commit
// declares decides what is read for it. So nothing of a plan may depend on what
// its caller may not read: no value, no message, no count, and not whether the
// outcome is valid. What such a commit would do is left out, and named.

// unseen reports whether nothing may be revealed of a stored object. What a
// Kustomization has applied that the caller may see is known by its inventory,
// unless it holds secrets: of those not even that a value is right may be revealed.
func (v *Previewer) unseen(o *render.Viewer, key object.Key) bool {
	if key.GroupKind == flux.Namespace || o.Sees(key) {
		return false
	}
	owner, ok := v.Owners.Of(key)
	if !ok || !o.Sees(owner) || key.GroupKind == flux.Secret {
		return true
	}
	live := v.Env.Store.Get(key)
	if live == nil {
		return false
	}
	paths, all := diff.Hidden(live)
	return all || len(paths) > 0
}

// restrict has a plan tell nothing but what its caller may know.
func (v *Previewer) restrict(o *render.Viewer, self object.Key, in *plan.Input) {
	if !o.Outside() || !v.Restricted {
		return // it comes from this process
	}
	seen := map[object.Key]bool{}
	in.Unseen = func(key object.Key) bool {
		unseen, known := seen[key]
		if !known {
			unseen = v.unseen(o, key)
			seen[key] = unseen
		}
		return unseen
	}
	in.Before = content.Declared(v.Loops.Rendered(self).Items)
	// A generated name ends in a hash of what was not read.
	in.Inventory = slices.DeleteFunc(slices.Clone(in.Inventory), func(key object.Key) bool {
		return slices.ContainsFunc(in.Items, func(it load.Item) bool {
			is, err := plan.KeyOf(it.Object)
			return err == nil && it.LeftOut() != "" && is.GroupKind == key.GroupKind && is.Namespace == key.Namespace && load.SameButHash(is.Name, key.Name)
		})
	})
}

// known is a Kustomization that a commit declares, with its own status: what is in
// an inventory is read. Of one that the caller may not see nothing is known.
func (p *planning) known(child *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	return flux.Arriving(child, p.stored(flux.KeyOf(child)))
}

// stored is a Kustomization as it is stored; nil if there is none, or the caller
// may not read it: a plan does not depend on that.
func (p *planning) stored(key object.Key) *kustomizev1.Kustomization {
	if p.v.Rights.Permitted(p.ctx, "get", key) != nil {
		return nil
	}
	ks, _ := p.v.Env.Store.Get(key).(*kustomizev1.Kustomization)
	return ks
}

// overlay shows, besides what is stored, the namespaces that other plans of
// the same answer create.
type overlay struct {
	object.Reader
	namespaces map[object.Key]object.Object
}

// Get implements object.Reader.
func (o *overlay) Get(key object.Key) object.Object {
	if obj := o.Reader.Get(key); obj != nil || o.namespaces[key] == nil {
		return obj
	}
	return o.namespaces[key]
}

// visible lists only what may be spoken of.
type visible struct {
	object.Reader
	sees func(object.Key) bool
}

// List implements object.Reader.
func (v visible) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	list, revision := v.Reader.List(kind, namespace)
	return slices.DeleteFunc(slices.Clone(list), func(obj object.Object) bool {
		key, err := plan.KeyOf(obj)
		return err != nil || !v.sees(key)
	}), revision
}

// neighbours are those of a Kustomization at what is planned.
func (p *planning) neighbours(self object.Key) *neighbours.Neighbours {
	n := p.v.Neighbours.Without(self, p.source)
	n.Render = func(ctx context.Context, ks *kustomizev1.Kustomization) ([]load.Item, error) {
		id := flux.KeyOf(ks).String() + neighbours.Extent(ks)
		done, ok := p.rendered[id]
		if !ok {
			_, renderer := p.v.Loops.Fork(ctx, flux.KeyOf(ks))
			// What the caller may not read shows in no neighbour either.
			renderer.LookFor(render.NewViewer(ctx, p.v.Rights, p.rights(&planned{ks: ks})))
			done.Err = fault.Catch(func() (err error) {
				_, done.Items, err = parents.Render(ctx, renderer, p.v.Env.Store, p.v.Owners, ks, p.tree, p.target)
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
	n.Hidden = func(key object.Key) bool { return p.v.Rights.Permitted(p.ctx, "get", key) != nil }
	return n
}
