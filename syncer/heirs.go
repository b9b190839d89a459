package syncer

import (
	"context"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
)

// familyPatience bounds the time for rendering all other Kustomizations,
// however many there are.
const familyPatience = 20 * time.Second

// neighbours are the Kustomizations besides the one that a plan is for, with
// what they declare at the planned revision: what moves from one to another in
// a commit is handed over instead of being deleted by one and created by the
// other, whichever of them comes first, and also if the commit declares the
// heir itself; and what one deletes must not take along what is another's.
//
// One that must not write an object counts for nothing: a tenant could else
// keep another's objects from being deleted.
//
// Only what is gone from one Kustomization, or is claimed by another, is asked
// for; a commit that moves nothing costs nothing.
type neighbours struct {
	s            *Syncer
	self, source object.Key
	// render renders one that follows the source at the planned revision, and
	// files is the tree that it is rendered from.
	render func(context.Context, *kustomizev1.Kustomization) ([]load.Item, error)
	files  func() (tree.Tree, error)
	// gone says of which it is known that they are deleted, and hidden of which
	// stored ones nothing may be told: they count for nothing.
	gone, hidden func(object.Key) bool

	known    bool
	families []*family
}

// neighbours are those of self at the head that it is planned for.
func (s *Syncer) neighbours(self, src object.Key, at source.Head) *neighbours {
	return &neighbours{
		s: s, self: self, source: src,
		render: func(ctx context.Context, ks *kustomizev1.Kustomization) ([]load.Item, error) {
			if at.Repo == nil {
				return nil, source.ErrNotYet
			}
			return s.follower(ks).renderer.Shared(ctx, ks, at)
		},
		files: func() (tree.Tree, error) {
			if at.Repo == nil {
				return nil, source.ErrNotYet
			}
			return at.Tree(flux.Ignore(s.env.Store, src))
		},
		gone:   func(object.Key) bool { return false },
		hidden: func(object.Key) bool { return false },
	}
}

// stored is a Kustomization of the store, nil if nothing may be told of it.
func (n *neighbours) stored(key object.Key) *kustomizev1.Kustomization {
	if n.hidden(key) {
		return nil
	}
	ks, _ := n.s.env.Store.Get(key).(*kustomizev1.Kustomization)
	return ks
}

// rendering is what came of rendering a Kustomization for a plan.
type rendering struct {
	items []load.Item
	err   error
}

// neighbours are those of a Kustomization at what is planned.
func (p *planning) neighbours(self object.Key) *neighbours {
	return &neighbours{
		s: p.s, self: self, source: p.source,
		render: func(ctx context.Context, ks *kustomizev1.Kustomization) ([]load.Item, error) {
			id := flux.KeyOf(ks).String() + extent(ks)
			done, ok := p.rendered[id]
			if !ok {
				k := p.s.lookalike(ctx, flux.KeyOf(ks))
				// What the caller may not read shows in no neighbour either.
				k.lookFor(render.NewOnlooker(ctx, p.s.rights, p.rights(&planned{ks: ks})))
				done.err = fault.Catch(func() (err error) {
					_, done.items, err = k.renderSettled(ctx, ks, p.tree, p.target)
					return err
				})
				if p.rendered == nil {
					p.rendered = map[string]rendering{}
				}
				p.rendered[id] = done
			}
			return done.items, done.err
		},
		files: func() (tree.Tree, error) { return p.tree, nil },
		gone: func(key object.Key) bool {
			one := p.done[key]
			return one != nil && one.deleted
		},
		hidden: func(key object.Key) bool { return p.s.rights.Permitted(p.ctx, "get", key) != nil },
	}
}

// tell gives a plan what it needs to know of the neighbours.
func (n *neighbours) tell(ctx context.Context, in *plan.Input) {
	in.Heir = func(key object.Key) (plan.Heir, bool) { return n.heir(ctx, key) }
	in.Declares = func(owner plan.Owner, key object.Key) bool { return n.declares(ctx, owner, key) }
	in.Resident = func(namespace string) (plan.Owner, object.Key, bool) { return n.resident(ctx, namespace) }
}

func (n *neighbours) all(ctx context.Context) []*family {
	if !n.known {
		n.families, n.known = n.find(ctx), true
	}
	return n.families
}

// heir is which other Kustomization declares an object, the first of several by
// name, or which may.
func (n *neighbours) heir(ctx context.Context, key object.Key) (plan.Heir, bool) {
	list := n.all(ctx)
	var first *family
	for _, f := range list {
		if n.takes(f, key) && (first == nil || f.owner.String() < first.owner.String()) {
			first = f
		}
	}
	if first != nil {
		return plan.Heir{Owner: first.owner}, true
	}
	for _, f := range list {
		if n.mayTake(ctx, f, key) {
			return plan.Heir{Owner: f.owner, Unsure: true}, true
		}
	}
	return plan.Heir{}, false
}

// declares reports whether one certain other Kustomization declares an object, or
// may: an object of which several do stays with the one that has it.
func (n *neighbours) declares(ctx context.Context, owner plan.Owner, key object.Key) bool {
	return slices.ContainsFunc(n.all(ctx), func(f *family) bool { return f.owner == owner && (n.takes(f, key) || n.mayTake(ctx, f, key)) })
}

func (n *neighbours) takes(f *family, key object.Key) bool {
	return f.wants[key] && !f.idle && n.s.rights.Allowed(f.spec, "patch", key) == nil
}

func (n *neighbours) mayTake(ctx context.Context, f *family, key object.Key) bool {
	return f.unknown && !f.idle && n.mayInherit(f, key) && f.names(ctx, key)
}

// mayInherit reports whether one that cannot be rendered may be what an object
// moves to: it follows the same source, in which a commit can move it, or acts
// as an account that has been given the right to write it.
func (n *neighbours) mayInherit(f *family, key object.Key) bool {
	if n.s.rights.Allowed(f.spec, "patch", key) != nil {
		return false
	}
	return flux.SourceKey(f.spec) == n.source || n.s.rights.Account(f.spec) != ""
}

// resident is an object in a namespace that another Kustomization declares, or
// has applied if it cannot be told what it declares.
func (n *neighbours) resident(ctx context.Context, namespace string) (plan.Owner, object.Key, bool) {
	for _, f := range n.all(ctx) {
		var here []object.Key
		for key := range f.wants {
			if key.Namespace == namespace && n.s.rights.Allowed(f.spec, "patch", key) == nil {
				here = append(here, key)
			}
		}
		if f.unknown || f.idle {
			for _, key := range flux.InventoryOf(f.spec) {
				if live := n.s.env.Store.Get(key); key.Namespace == namespace && live != nil && ownedBy(live, f.owner) {
					here = append(here, key)
				}
			}
		}
		if len(here) > 0 {
			slices.SortFunc(here, func(a, b object.Key) int { return strings.Compare(a.String(), b.String()) })
			return f.owner, here[0], true
		}
	}
	return plan.Owner{}, object.Key{}, false
}

func ownedBy(obj object.Object, owner plan.Owner) bool {
	is, ok := plan.OwnerOf(obj)
	return ok && is == owner
}

// family is a Kustomization with what it declares.
type family struct {
	spec  *kustomizev1.Kustomization
	owner plan.Owner
	wants map[object.Key]bool
	// unknown says that it could not be rendered; names then looks for an object
	// in its files. idle says that it is suspended: it takes nothing over.
	unknown, idle bool
	references    *render.References
	files         func(context.Context) *render.References
}

// names reports whether an object is, or may be, named in the files.
func (f *family) names(ctx context.Context, key object.Key) bool {
	if f.references == nil && f.files != nil {
		f.references, f.files = f.files(ctx), nil
	}
	return f.references != nil && (ctx.Err() != nil || f.references.Fit(f.spec, key))
}

// find renders the Kustomizations but self: those of the store, and those that
// the revision adds or points elsewhere, without those that it takes away.
func (n *neighbours) find(ctx context.Context) []*family {
	byKey := map[object.Key]*family{}
	var order []object.Key
	var queue []*kustomizev1.Kustomization
	list, _ := n.s.env.Store.List(flux.Kustomization, "")
	for _, o := range list {
		if ks, ok := o.(*kustomizev1.Kustomization); ok && ks.DeletionTimestamp == nil && !n.gone(flux.KeyOf(ks)) && !n.hidden(flux.KeyOf(ks)) {
			queue = append(queue, ks)
		}
	}
	tries := map[object.Key]int{}
	until := time.Now().Add(familyPatience)
	for ; len(queue) > 0 && ctx.Err() == nil; queue = queue[1:] {
		ks := queue[0]
		key := flux.KeyOf(ks)
		f := byKey[key]
		// Two that declare each other must not be rendered for ever.
		if f != nil && (extent(f.spec) == extent(ks) || tries[key] > 2) || n.gone(key) {
			continue
		}
		tries[key]++
		if f == nil {
			order = append(order, key)
		}
		items, f := n.render1(ctx, ks, until)
		byKey[key] = f
		for _, it := range items {
			if child, ok := it.Object.(*kustomizev1.Kustomization); ok {
				if child = n.arriving(ks, child); child != nil {
					queue = append(queue, child)
				}
			}
		}
	}
	n.drop(byKey)
	var out []*family
	for _, key := range order {
		if f := byKey[key]; f != nil && key != n.self {
			out = append(out, f)
		}
	}
	return out
}

// arriving is a Kustomization as it will be once parent has applied what it
// declares of it; nil if parent must not.
func (n *neighbours) arriving(parent, declared *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	key, err := plan.KeyOf(declared)
	if err != nil || parent.Spec.Suspend || n.s.rights.Allowed(parent, "patch", key) != nil {
		return nil
	}
	out := declared.DeepCopy()
	out.Namespace = key.Namespace
	out.Status = kustomizev1.KustomizationStatus{}
	if stored := n.stored(key); stored != nil {
		if stored.DeletionTimestamp == nil {
			// What a hand has suspended stays so.
			out.Spec.Suspend = out.Spec.Suspend || stored.Spec.Suspend
		}
		out.Status = stored.Status
	}
	return out
}

// drop leaves out those that are deleted with the revision: what declared them
// prunes them, or goes itself.
func (n *neighbours) drop(byKey map[object.Key]*family) {
	for again := true; again; {
		again = false
		for key, f := range byKey {
			owner, labelled := plan.Owner{}, false
			if stored := n.stored(key); stored != nil {
				owner, labelled = plan.OwnerOf(stored)
			}
			if !labelled || owner == f.owner || n.wanted(byKey, key) {
				continue
			}
			if n.prunes(byKey, owners.KeyOf(owner), key) {
				delete(byKey, key)
				again = true
			}
		}
	}
}

func (n *neighbours) wanted(byKey map[object.Key]*family, key object.Key) bool {
	for _, f := range byKey {
		if f.wants[key] {
			return true
		}
	}
	return false
}

// prunes reports whether a Kustomization deletes one that it no longer declares.
func (n *neighbours) prunes(byKey map[object.Key]*family, key, child object.Key) bool {
	stored := n.stored(key)
	if stored == nil || !slices.Contains(flux.InventoryOf(stored), child) {
		return false
	}
	if obj := n.s.env.Store.Get(child); obj != nil && plan.Spared(obj) != "" {
		return false
	}
	f := byKey[key]
	if f == nil { // it goes itself
		return flux.Deletes(stored)
	}
	return !f.unknown && !f.idle && f.spec.Spec.Prune
}

// extent is what decides which objects a Kustomization declares, other than
// the files.
func extent(ks *kustomizev1.Kustomization) string {
	return strings.Join([]string{"", flux.SourceKey(ks).String(), render.CleanDir(ks.Spec.Path), ks.Spec.TargetNamespace, ks.Spec.NamePrefix, ks.Spec.NameSuffix}, "\n")
}

// render1 is what a Kustomization declares at the revision, or at its own
// source's head if it follows another. After until it is not known any more.
func (n *neighbours) render1(ctx context.Context, ks *kustomizev1.Kustomization, until time.Time) ([]load.Item, *family) {
	f := &family{spec: ks, owner: plan.Owner{Namespace: ks.Namespace, Name: ks.Name}, idle: ks.Spec.Suspend}
	declares, files := n.render, n.files
	if flux.SourceKey(ks) != n.source {
		at, err := n.s.follower(ks).head(ks)
		if err != nil {
			f.unknown = true
			return nil, f
		}
		other := n.s.neighbours(n.self, flux.SourceKey(ks), at)
		declares, files = other.render, other.files
	}
	var items []load.Item
	err := render.ErrSlow
	if time.Now().Before(until) {
		items, err = declares(ctx, ks)
	}
	if err != nil {
		f.unknown = true
		f.files = func(ctx context.Context) *render.References {
			t, err := files()
			if err != nil {
				return nil
			}
			return render.ReferencesIn(ctx, t, render.CleanDir(ks.Spec.Path))
		}
		return nil, f
	}
	f.wants = make(map[object.Key]bool, len(items))
	for _, it := range items {
		if key, err := plan.KeyOf(it.Object); err == nil {
			f.wants[key] = true
		}
	}
	return items, f
}

// follower is the loop that follows a Kustomization, or one like it if the
// stored one is another: the revision adds or changes it.
func (s *Syncer) follower(ks *kustomizev1.Kustomization) *kustomization {
	key := flux.KeyOf(ks)
	s.mu.Lock()
	k := s.kustomizations[key]
	s.mu.Unlock()
	if stored, _ := s.env.Store.Get(key).(*kustomizev1.Kustomization); k == nil || stored == nil || extent(stored) != extent(ks) {
		return newKustomization(s, key)
	}
	return k
}
