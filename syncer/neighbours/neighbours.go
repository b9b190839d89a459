package neighbours

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
)

// patience bounds the time for rendering all other Kustomizations,
// however many there are.
const patience = 20 * time.Second

// Neighbours are the Kustomizations besides the one that a plan is for, with
// what they declare at the planned revision: what moves from one to another in
// a commit is handed over instead of being deleted by one and created by the
// other, whichever of them comes first, and also if the commit declares the
// successor itself; and what one deletes must not take along what is another's.
//
// One that must not write an object counts for nothing: a tenant could else
// keep another's objects from being deleted.
//
// Only what is gone from one Kustomization, or is claimed by another, is asked
// for; a commit that moves nothing costs nothing.
type Neighbours struct {
	env          *env.Env
	rights       rights.Rights
	sources      *source.Set
	renderer     func(*kustomizev1.Kustomization) *render.Renderer
	self, source object.Key
	// Render renders one that follows the source at the planned revision, and
	// Files is the tree that it is rendered from.
	Render func(context.Context, *kustomizev1.Kustomization) ([]load.Item, error)
	Files  func() (tree.Tree, error)
	// Gone says of which it is known that they are deleted, and Hidden of which
	// stored ones nothing may be revealed: they count for nothing.
	Gone, Hidden func(object.Key) bool

	known  bool
	others []*neighbour
}

// Finder finds neighbours.
type Finder struct {
	Env     *env.Env
	Rights  rights.Rights
	Sources *source.Set
	// Renderer is what renders a Kustomization as it is given.
	Renderer func(*kustomizev1.Kustomization) *render.Renderer
}

// Without are the neighbours of self for a plan of what is no head of the source:
// Render and Files have to be set.
func (f *Finder) Without(self, src object.Key) *Neighbours {
	none := func(object.Key) bool { return false }
	return &Neighbours{env: f.Env, rights: f.Rights, sources: f.Sources, renderer: f.Renderer, self: self, source: src, Gone: none, Hidden: none}
}

// Of are the neighbours of self at the head that it is planned for.
func (f *Finder) Of(self, src object.Key, at source.Head) *Neighbours {
	n := f.Without(self, src)
	n.Render = func(ctx context.Context, ks *kustomizev1.Kustomization) ([]load.Item, error) {
		if !at.Fetched() {
			return nil, source.ErrNotYet
		}
		return f.Renderer(ks).Shared(ctx, ks, at)
	}
	n.Files = func() (tree.Tree, error) {
		if !at.Fetched() {
			return nil, source.ErrNotYet
		}
		return at.Tree(flux.Ignore(f.Env.Store, src))
	}
	return n
}

// stored is a Kustomization of the store, nil if nothing may be revealed of it.
func (n *Neighbours) stored(key object.Key) *kustomizev1.Kustomization {
	if n.Hidden(key) {
		return nil
	}
	ks, _ := n.env.Store.Get(key).(*kustomizev1.Kustomization)
	return ks
}

// Rendering is what came of rendering a Kustomization for a plan.
type Rendering struct {
	Items []load.Item
	Err   error
}

// Complete adds to what a plan is made from what the neighbours declare.
func (n *Neighbours) Complete(ctx context.Context, in *plan.Input) {
	in.Successor = func(key object.Key) (plan.Successor, bool) { return n.Successor(ctx, key) }
	in.Declares = func(owner plan.Owner, key object.Key) bool { return n.declares(ctx, owner, key) }
	in.Resident = func(where func(object.Key) bool) (plan.Owner, object.Key, bool) { return n.resident(ctx, where) }
}

func (n *Neighbours) finder() *Finder {
	return &Finder{Env: n.env, Rights: n.rights, Sources: n.sources, Renderer: n.renderer}
}

func (n *Neighbours) all(ctx context.Context) []*neighbour {
	if !n.known {
		n.others, n.known = n.find(ctx), true
	}
	return n.others
}

// Successor is which other Kustomization declares an object, the first of several by
// name, or which may.
func (n *Neighbours) Successor(ctx context.Context, key object.Key) (plan.Successor, bool) {
	list := n.all(ctx)
	var first *neighbour
	for _, o := range list {
		if n.takes(ctx, o, key) && (first == nil || o.owner.String() < first.owner.String()) {
			first = o
		}
	}
	if first != nil {
		return plan.Successor{Owner: first.owner}, true
	}
	for _, o := range list {
		if n.mayTake(ctx, o, key) {
			return plan.Successor{Owner: o.owner, Unsure: true}, true
		}
	}
	return plan.Successor{}, false
}

// declares reports whether one certain other Kustomization declares an object, or
// may: an object of which several do stays with the one that has it.
func (n *Neighbours) declares(ctx context.Context, owner plan.Owner, key object.Key) bool {
	return slices.ContainsFunc(n.all(ctx), func(o *neighbour) bool { return o.owner == owner && (n.takes(ctx, o, key) || n.mayTake(ctx, o, key)) })
}

// mayPatch reports whether a neighbour may write an object, or that nobody knows
// now: then nothing is deleted for it.
func (n *Neighbours) mayPatch(ctx context.Context, o *neighbour, key object.Key) (may, unsure bool) {
	err := n.rights.Allowed(ctx, o.spec, "patch", key)
	return err == nil, errors.Is(err, rights.ErrUnanswered)
}

func (n *Neighbours) takes(ctx context.Context, o *neighbour, key object.Key) bool {
	may, _ := n.mayPatch(ctx, o, key)
	return o.wants[key] && !o.idle && may
}

func (n *Neighbours) mayTake(ctx context.Context, o *neighbour, key object.Key) bool {
	if o.idle {
		return false
	}
	if o.wants[key] {
		if _, unsure := n.mayPatch(ctx, o, key); unsure {
			return true
		}
	}
	return o.unknown && n.mayBeSuccessor(ctx, o, key) && o.names(ctx, key)
}

// mayBeSuccessor reports whether one that cannot be rendered may be what an object
// moves to: it follows the same source, in which a commit can move it, or acts
// as an account that has been given the right to write it.
func (n *Neighbours) mayBeSuccessor(ctx context.Context, o *neighbour, key object.Key) bool {
	if may, unsure := n.mayPatch(ctx, o, key); !may && !unsure {
		return false
	}
	return flux.SourceKey(o.spec) == n.source || n.rights.Account(o.spec) != ""
}

// resident is an object, in a namespace or of a kind, that another Kustomization
// declares, or has applied if it is not known what it declares.
func (n *Neighbours) resident(ctx context.Context, where func(object.Key) bool) (plan.Owner, object.Key, bool) {
	for _, o := range n.all(ctx) {
		var here []object.Key
		for key := range o.wants {
			if !where(key) {
				continue
			}
			if may, unsure := n.mayPatch(ctx, o, key); may || unsure {
				here = append(here, key)
			}
		}
		if o.unknown || o.idle {
			for _, key := range flux.InventoryOf(o.spec) {
				if live := n.env.Store.Get(key); where(key) && live != nil && ownedBy(live, o.owner) {
					here = append(here, key)
				}
			}
		}
		if len(here) > 0 {
			slices.SortFunc(here, func(a, b object.Key) int { return strings.Compare(a.String(), b.String()) })
			return o.owner, here[0], true
		}
	}
	return plan.Owner{}, object.Key{}, false
}

func ownedBy(obj object.Object, owner plan.Owner) bool {
	is, ok := plan.OwnerOf(obj)
	return ok && is == owner
}
