package parents

import (
	"context"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
)

// Of is the Kustomization that has applied this one and follows the same source;
// nil if there is none, or it does nothing at present.
func Of(stored object.Reader, ks *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	owner, ok := plan.OwnerOf(ks)
	if !ok || owner == owners.OwnerOf(flux.KeyOf(ks)) {
		return nil
	}
	p, ok := stored.Get(owners.KeyOf(owner)).(*kustomizev1.Kustomization)
	if !ok || p.Spec.Suspend || p.DeletionTimestamp != nil || flux.SourceKey(p) != flux.SourceKey(ks) || p.Status.Inventory == nil {
		return nil
	}
	// Anyone can write labels.
	id := flux.Inventory([]object.Key{flux.KeyOf(ks)}, nil).Entries[0].ID
	if !slices.ContainsFunc(p.Status.Inventory.Entries, func(e kustomizev1.ResourceRef) bool { return e.ID == id }) {
		return nil
	}
	return p
}

// AwaitedBy reports whether a Kustomization is waited for by another, ks, by
// spec.dependsOn or as a parent, also by way of others.
func AwaitedBy(stored object.Reader, ks *kustomizev1.Kustomization, key object.Key) bool {
	seen := map[object.Key]bool{}
	for queue := []*kustomizev1.Kustomization{ks}; len(queue) > 0; queue = queue[1:] {
		for _, dep := range awaited(stored, queue[0]) {
			if dep == key {
				return true
			}
			if next, ok := stored.Get(dep).(*kustomizev1.Kustomization); ok && !seen[dep] {
				seen[dep] = true
				queue = append(queue, next)
			}
		}
	}
	return false
}

// awaited are the Kustomizations that one waits for.
func awaited(stored object.Reader, ks *kustomizev1.Kustomization) []object.Key {
	list := flux.Dependencies(ks)
	if p := Of(stored, ks); p != nil {
		list = append(list, flux.KeyOf(p))
	}
	return list
}

// LeavesAsStored reports whether what parent declares leaves the child as it is.
func LeavesAsStored(ctx context.Context, stored object.Reader, items []load.Item, parent *kustomizev1.Kustomization, child object.Key) bool {
	i := declaring(items, child)
	if i < 0 {
		return false
	}
	in := plan.Input{Items: items[i : i+1], Owner: owners.OwnerOf(flux.KeyOf(parent)), Ignore: parent.Spec.Ignore}
	res := plan.New(nil).Plan(ctx, in, stored)
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
