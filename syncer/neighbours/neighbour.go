package neighbours

import (
	"context"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
)

// neighbour is a Kustomization with what it declares.
type neighbour struct {
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
func (o *neighbour) names(ctx context.Context, key object.Key) bool {
	if o.references == nil && o.files != nil {
		o.references, o.files = o.files(ctx), nil
	}
	return o.references != nil && (ctx.Err() != nil || o.references.Fit(o.spec, key))
}

// find renders the Kustomizations but self: those of the store, and those that
// the revision adds or points elsewhere, without those that it takes away.
func (n *Neighbours) find(ctx context.Context) []*neighbour {
	byKey := map[object.Key]*neighbour{}
	var order []object.Key
	var queue []*kustomizev1.Kustomization
	list, _ := n.env.Store.List(flux.Kustomization, "")
	for _, obj := range list {
		if ks, ok := obj.(*kustomizev1.Kustomization); ok && ks.DeletionTimestamp == nil && !n.Gone(flux.KeyOf(ks)) && !n.Hidden(flux.KeyOf(ks)) {
			queue = append(queue, ks)
		}
	}
	tries := map[object.Key]int{}
	until := time.Now().Add(patience)
	for ; len(queue) > 0 && ctx.Err() == nil; queue = queue[1:] {
		ks := queue[0]
		key := flux.KeyOf(ks)
		o := byKey[key]
		// Two that declare each other must not be rendered for ever.
		if o != nil && (Extent(o.spec) == Extent(ks) || tries[key] > 2) || n.Gone(key) {
			continue
		}
		tries[key]++
		if o == nil {
			order = append(order, key)
		}
		items, o := n.Declared(ctx, ks, until)
		byKey[key] = o
		for _, it := range items {
			if child, ok := it.Object.(*kustomizev1.Kustomization); ok {
				if child = n.arriving(ctx, ks, child); child != nil {
					queue = append(queue, child)
				}
			}
		}
	}
	n.drop(byKey)
	var out []*neighbour
	for _, key := range order {
		if o := byKey[key]; o != nil && key != n.self {
			out = append(out, o)
		}
	}
	return out
}

// arriving is a Kustomization as it will be once parent has applied what it
// declares of it; nil if parent must not.
func (n *Neighbours) arriving(ctx context.Context, parent, declared *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	key, err := plan.KeyOf(declared)
	if err != nil || parent.Spec.Suspend || n.rights.Allowed(ctx, parent, "patch", key) != nil {
		return nil
	}
	stored := n.stored(key)
	out := flux.Arriving(declared, stored)
	out.Namespace = key.Namespace
	if stored != nil && stored.DeletionTimestamp == nil {
		// What a hand has suspended stays so.
		out.Spec.Suspend = out.Spec.Suspend || stored.Spec.Suspend
	}
	return out
}

// drop leaves out those that are deleted with the revision: what declared them
// prunes them, or goes itself.
func (n *Neighbours) drop(byKey map[object.Key]*neighbour) {
	for again := true; again; {
		again = false
		for key, o := range byKey {
			owner, labelled := plan.Owner{}, false
			if stored := n.stored(key); stored != nil {
				owner, labelled = plan.OwnerOf(stored)
			}
			if !labelled || owner == o.owner || n.wanted(byKey, key) {
				continue
			}
			if n.prunes(byKey, owners.KeyOf(owner), key) {
				delete(byKey, key)
				again = true
			}
		}
	}
}

func (n *Neighbours) wanted(byKey map[object.Key]*neighbour, key object.Key) bool {
	for _, o := range byKey {
		if o.wants[key] {
			return true
		}
	}
	return false
}

// prunes reports whether a Kustomization deletes one that it no longer declares.
func (n *Neighbours) prunes(byKey map[object.Key]*neighbour, key, child object.Key) bool {
	stored := n.stored(key)
	if stored == nil || !slices.Contains(flux.InventoryOf(stored), child) {
		return false
	}
	if obj := n.env.Store.Get(child); obj != nil && plan.Spared(obj) != "" {
		return false
	}
	o := byKey[key]
	if o == nil { // it goes itself
		return flux.Deletes(stored)
	}
	return !o.unknown && !o.idle && o.spec.Spec.Prune
}

// Extent is what decides which objects a Kustomization declares, other than
// the files.
func Extent(ks *kustomizev1.Kustomization) string {
	return strings.Join([]string{"", flux.SourceKey(ks).String(), render.CleanDir(ks.Spec.Path), ks.Spec.TargetNamespace, ks.Spec.NamePrefix, ks.Spec.NameSuffix}, "\n")
}

// Declared is what a Kustomization declares at the revision, or at its own
// source's head if it follows another. After until it is not known any more.
func (n *Neighbours) Declared(ctx context.Context, ks *kustomizev1.Kustomization, until time.Time) ([]load.Item, *neighbour) {
	o := &neighbour{spec: ks, owner: plan.Owner{Namespace: ks.Namespace, Name: ks.Name}, idle: ks.Spec.Suspend}
	declares, files := n.Render, n.Files
	if flux.SourceKey(ks) != n.source {
		at, err := n.sources.HeadOf(ks)
		if err != nil {
			o.unknown = true
			return nil, o
		}
		other := n.finder().Of(n.self, flux.SourceKey(ks), at)
		declares, files = other.Render, other.Files
	}
	var items []load.Item
	err := render.ErrSlow
	if time.Now().Before(until) {
		items, err = declares(ctx, ks)
	}
	if err != nil {
		o.unknown = true
		o.files = func(ctx context.Context) *render.References {
			t, err := files()
			if err != nil {
				return nil
			}
			return render.ReferencesIn(ctx, t, render.CleanDir(ks.Spec.Path))
		}
		return nil, o
	}
	o.wants = make(map[object.Key]bool, len(items))
	for _, it := range items {
		if key, err := plan.KeyOf(it.Object); err == nil {
			o.wants[key] = true
		}
	}
	return items, o
}
