package flux

import (
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// KnownInventory is the previous inventory, in both forms: it seldom changes,
// and may be long.
type KnownInventory struct {
	entries []kustomizev1.ResourceRef
	keys    []object.Key
}

// Of is InventoryOf.
func (k *KnownInventory) Of(ks *kustomizev1.Kustomization) []object.Key {
	if ks.Status.Inventory == nil {
		return nil
	}
	if entries := ks.Status.Inventory.Entries; !slices.Equal(entries, k.entries) {
		k.entries, k.keys = entries, InventoryOf(ks)
	}
	return k.keys
}

// Form is Inventory.
func (k *KnownInventory) Form(keys []object.Key, kinds *scheme.Set) *kustomizev1.ResourceInventory {
	if !slices.Equal(keys, k.keys) {
		k.entries, k.keys = Inventory(keys, kinds).Entries, slices.Clone(keys)
	}
	return &kustomizev1.ResourceInventory{Entries: k.entries}
}

// SameStatus compares two statuses, quickly if their inventories are the same.
func SameStatus(a, b *kustomizev1.KustomizationStatus) bool {
	x, y := *a, *b
	if x.Inventory != nil && y.Inventory != nil && slices.Equal(x.Inventory.Entries, y.Inventory.Entries) {
		x.Inventory, y.Inventory = nil, nil
	}
	return equality.Semantic.DeepEqual(&x, &y)
}

// Inventory is the status field's form of a list of keys, of which kinds knows the
// versions.
func Inventory(keys []object.Key, kinds *scheme.Set) *kustomizev1.ResourceInventory {
	inv := &kustomizev1.ResourceInventory{Entries: make([]kustomizev1.ResourceRef, 0, len(keys))}
	for _, key := range keys {
		version := ""
		if k, ok := kinds.ForKind(key.GroupKind); ok {
			version = k.Version
		}
		inv.Entries = append(inv.Entries, kustomizev1.ResourceRef{
			ID: strings.Join([]string{key.Namespace, strings.ReplaceAll(key.Name, ":", "__"), key.Group, key.Kind}, "_"), Version: version,
		})
	}
	return inv
}

// InventoryOf reads the status's inventory; entries that are not
// <namespace>_<name>_<group>_<kind> are ignored.
func InventoryOf(ks *kustomizev1.Kustomization) []object.Key {
	if ks.Status.Inventory == nil {
		return nil
	}
	keys := make([]object.Key, 0, len(ks.Status.Inventory.Entries))
	for _, e := range ks.Status.Inventory.Entries {
		if key, ok := parseID(e.ID); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// parseID reads <namespace>_<name>_<group>_<kind>. Only the names of RBAC
// objects can hold colons and underscores; cli-utils writes a colon as two
// underscores.
func parseID(id string) (object.Key, bool) {
	parts := strings.Split(id, "_")
	n := len(parts)
	if n < 4 {
		return object.Key{}, false
	}
	name := strings.ReplaceAll(strings.Join(parts[1:n-2], "_"), "__", ":")
	return object.Key{GroupKind: schema.GroupKind{Group: parts[n-2], Kind: parts[n-1]}, Namespace: parts[0], Name: name}, true
}
