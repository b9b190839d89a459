// Package gc collects objects whose owners are gone, and lets owners wait for
// their dependents or leave them behind.
//
// Owner references are looked at when an object or its owner changes in what
// concerns them: an index by the owners' UIDs, kept from the feed, leads from
// an owner to its dependents. Whether an owner is there is always decided by
// the store, by key and UID. All dependents of one owner go in one
// transaction.
//
// What becomes of a dependent, by its owners (Kubernetes' rules):
//
//	one that stays                     keep; drop the references to others
//	none stays, one waits (foreground) delete; in the foreground if it has dependents
//	none                               delete, by its own finalizers' policy
package gc

import (
	"context"
	"fmt"
	"slices"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

const (
	// name is that of the controller, and of who its events are from.
	name = "garbage-collector-controller"
	// together bounds the changes of one transaction.
	together = 500
)

// ownerKind marks a queue key that stands for the dependents of an owner that
// is gone; its name is the owner's UID.
var ownerKind = schema.GroupKind{Group: "gc", Kind: "DependentsOf"}

type controller struct {
	control.Env
	dependents *control.Index
	places     *control.Places
}

// New makes the controller.
func New(env control.Env) control.Controller {
	c := &controller{Env: env, dependents: env.Feed.Index("dependents", byOwner), places: env.Feed.Places()}
	return control.Controller{Name: name, Workers: 2, Keys: c.keys, Reconcile: c.reconcile}
}

func byOwner(obj object.Object) []string {
	var uids []string
	for _, ref := range obj.GetOwnerReferences() {
		if uid := string(ref.UID); !slices.Contains(uids, uid) {
			uids = append(uids, uid)
		}
	}
	return uids
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	obj := ev.Object
	if ev.Key.GroupKind == control.Event {
		return
	}
	if ev.Old != nil && (ev.Type == object.Deleted || ev.Old.GetUID() != obj.GetUID()) {
		uid := ev.Old.GetUID()
		if c.dependents.Len(string(uid)) > 0 {
			add(object.Key{GroupKind: ownerKind, Name: string(uid)})
		}
		c.waitingOwners(ev.Old, add)
	}
	if ev.Type == object.Deleted {
		return
	}
	refs := obj.GetOwnerReferences()
	same := ev.Old != nil && ev.Old.GetUID() == obj.GetUID() && (ev.Old.GetDeletionTimestamp() == nil) == (obj.GetDeletionTimestamp() == nil) &&
		apiequality.Semantic.DeepEqual(ev.Old.GetOwnerReferences(), refs) && slices.Equal(ev.Old.GetFinalizers(), obj.GetFinalizers())
	if same {
		return
	}
	if len(refs) > 0 || waits(obj) || orphans(obj) {
		add(ev.Key)
	}
	if ev.Old != nil {
		c.waitingOwners(ev.Old, add)
	}
}

// waitingOwners adds the owners that may have waited for this object.
func (c *controller) waitingOwners(obj object.Object, add func(object.Key)) {
	for _, ref := range obj.GetOwnerReferences() {
		if key, ok := c.ownerKey(obj, ref); ok {
			if owner := c.Store.Get(key); owner != nil && owner.GetUID() == ref.UID && waits(owner) {
				add(key)
			}
		}
	}
}

// waits reports whether the object is deleted in the foreground.
func waits(obj object.Object) bool {
	return obj.GetDeletionTimestamp() != nil && slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents)
}

func orphans(obj object.Object) bool {
	return obj.GetDeletionTimestamp() != nil && slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents)
}

// ownerKey names an owner; false if its kind is not served, or it cannot own
// the object.
func (c *controller) ownerKey(obj object.Object, ref metav1.OwnerReference) (object.Key, bool) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return object.Key{}, false
	}
	kind, ok := c.Kinds.ForKind(gv.WithKind(ref.Kind).GroupKind())
	if !ok || kind.Namespaced && obj.GetNamespace() == "" {
		return object.Key{}, false
	}
	key := object.Key{GroupKind: kind.GroupKind(), Name: ref.Name}
	if kind.Namespaced {
		key.Namespace = obj.GetNamespace()
	}
	return key, true
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	var changes []change.Change
	if key.GroupKind == ownerKind {
		for _, dep := range c.dependents.Get(key.Name) {
			changes = append(changes, c.collect(dep)...)
		}
		return 0, c.write(ctx, key, changes)
	}
	obj := c.Store.Get(key)
	if obj == nil {
		return 0, nil
	}
	switch {
	case orphans(obj):
		// Only when all are released: whoever still has the reference goes with
		// the owner.
		if err := c.write(ctx, key, c.release(obj)); err != nil {
			return 0, err
		}
		changes = []change.Change{dropFinalizer(key, obj, metav1.FinalizerOrphanDependents)}
	case waits(obj):
		changes = c.foreground(key, obj)
	}
	if obj.GetDeletionTimestamp() == nil {
		c.elsewhere(obj)
	}
	return 0, c.write(ctx, key, append(changes, c.collect(obj)...))
}

// elsewhere warns of owners that are in another namespace than their dependent, which
// they cannot own.
func (c *controller) elsewhere(obj object.Object) {
	for _, ref := range obj.GetOwnerReferences() {
		if at := c.places.Of(ref.UID); at != "" && at != obj.GetNamespace() {
			c.Events.Warning(name, obj, "OwnerRefInvalidNamespace", "ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
				ref.APIVersion, ref.Kind, obj.GetNamespace(), ref.Name, ref.UID, obj.GetNamespace())
		}
	}
}

// write keeps the changes of one object together only as far as that helps: if
// a batch is refused, each change is tried by itself.
func (c *controller) write(ctx context.Context, key object.Key, changes []change.Change) error {
	var failed error
	for batch := range slices.Chunk(changes, together) {
		if _, err := c.Commit(ctx, change.Tx{Changes: batch}); err == nil {
			continue
		} else if len(batch) == 1 || ctx.Err() != nil {
			failed = fmt.Errorf("collect garbage of %s: %w", key, err)
			continue
		}
		for i, err := range c.CommitEach(ctx, batch) {
			if err != nil {
				failed = fmt.Errorf("collect garbage of %s: %s: %w", key, batch[i].Key, err)
			}
		}
	}
	return failed
}

// foreground deletes the dependents that block, and lets go when there is none
// left.
func (c *controller) foreground(key object.Key, obj object.Object) []change.Change {
	var changes []change.Change
	blocked := false
	for _, dep := range c.dependents.Get(string(obj.GetUID())) {
		changes = append(changes, c.collect(dep)...)
		for _, ref := range dep.GetOwnerReferences() {
			blocked = blocked || ref.UID == obj.GetUID() && ptr.Deref(ref.BlockOwnerDeletion, false)
		}
	}
	if !blocked {
		changes = append(changes, dropFinalizer(key, obj, metav1.FinalizerDeleteDependents))
	}
	return changes
}

// release takes the owner's references off its dependents.
func (c *controller) release(obj object.Object) []change.Change {
	var changes []change.Change
	for _, dep := range c.dependents.Get(string(obj.GetUID())) {
		if k, err := scheme.KeyOf(dep); err == nil {
			changes = append(changes, dropOwners(k, dep, map[types.UID]bool{obj.GetUID(): true}))
		}
	}
	return changes
}

// collect decides what becomes of an object by its owners.
func (c *controller) collect(obj object.Object) []change.Change {
	refs := obj.GetOwnerReferences()
	if len(refs) == 0 || obj.GetDeletionTimestamp() != nil {
		return nil
	}
	key, err := scheme.KeyOf(obj)
	if err != nil {
		return nil
	}
	drop := map[types.UID]bool{}
	stays, waiting := false, false
	for _, ref := range refs {
		ownerKey, ok := c.ownerKey(obj, ref)
		if !ok {
			stays = true // what we cannot look up is not known to be gone
			continue
		}
		owner := c.Store.Get(ownerKey)
		switch {
		case owner == nil || owner.GetUID() != ref.UID:
			drop[ref.UID] = true
		case waits(owner):
			waiting = true
			drop[ref.UID] = true
		default:
			stays = true
		}
	}
	switch {
	case stays && len(drop) > 0:
		return []change.Change{dropOwners(key, obj, drop)}
	case stays:
		return nil
	}
	// The references may have changed since: an object that was adopted in the
	// meantime must not go.
	seen := obj.GetOwnerReferences()
	var changes []change.Change
	policy := metav1.DeletePropagationBackground
	switch {
	case waiting && c.dependents.Len(string(obj.GetUID())) > 0:
		policy = metav1.DeletePropagationForeground
		if slices.ContainsFunc(c.dependents.Get(string(obj.GetUID())), waits) {
			// Its dependent waits as its owner does: they may be a circle, in
			// which each would wait for the next for ever.
			changes = append(changes, unblock(key, obj, seen))
			seen = unblocked(seen)
		}
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents):
		policy = metav1.DeletePropagationForeground
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents):
		policy = metav1.DeletePropagationOrphan
	}
	return append(changes, control.Guarded(change.Delete(key, metav1.DeleteOptions{PropagationPolicy: &policy}, c.Now()), func(current object.Object) bool {
		return current.GetUID() == obj.GetUID() && apiequality.Semantic.DeepEqual(current.GetOwnerReferences(), seen)
	}))
}

// unblock makes none of an object's owners wait for it.
func unblock(key object.Key, obj object.Object, seen []metav1.OwnerReference) change.Change {
	return control.Guarded(change.Patch(key, func(current object.Object) bool {
		if !apiequality.Semantic.DeepEqual(current.GetOwnerReferences(), seen) {
			return false
		}
		current.SetOwnerReferences(unblocked(seen))
		return true
	}), control.SameUID(obj.GetUID()))
}

func unblocked(refs []metav1.OwnerReference) []metav1.OwnerReference {
	next := slices.Clone(refs)
	for i := range next {
		next[i].BlockOwnerDeletion = new(false)
	}
	return next
}

func dropFinalizer(key object.Key, obj object.Object, finalizer string) change.Change {
	return control.Guarded(change.Patch(key, func(current object.Object) bool {
		kept := slices.DeleteFunc(slices.Clone(current.GetFinalizers()), func(f string) bool { return f == finalizer })
		current.SetFinalizers(kept)
		return true
	}), control.SameUID(obj.GetUID()))
}

func dropOwners(key object.Key, obj object.Object, owners map[types.UID]bool) change.Change {
	return control.Guarded(change.Patch(key, func(current object.Object) bool {
		kept := slices.DeleteFunc(slices.Clone(current.GetOwnerReferences()), func(r metav1.OwnerReference) bool { return owners[r.UID] })
		current.SetOwnerReferences(kept)
		return true
	}), control.SameUID(obj.GetUID()))
}
