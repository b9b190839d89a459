// Package namespace deletes the contents of a namespace that is being deleted,
// and then the namespace: pods first, with their grace periods, and everything
// else once they are gone, so that nothing that pods still need is taken from
// them.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

const (
	// again is when a namespace with content is looked at without an event.
	again = 15 * time.Second
	// together bounds the changes of one transaction.
	together = 500
)

type controller struct{ control.Env }

// New makes the controller.
func New(env control.Env) control.Controller {
	c := &controller{env}
	return control.Controller{Name: "namespace-controller", Workers: 2, Keys: c.keys, Reconcile: c.reconcile}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch {
	case ev.Key.GroupKind == control.Namespace:
		if ev.Type != object.Deleted && ev.Object.GetDeletionTimestamp() != nil {
			add(ev.Key)
		}
	case ev.Key.Namespace != "" && (ev.Type == object.Deleted || ev.Type == object.Added):
		ns := object.Key{GroupKind: control.Namespace, Name: ev.Key.Namespace}
		if obj := c.Store.Get(ns); obj != nil && obj.GetDeletionTimestamp() != nil {
			add(ns)
		}
	}
}

// content is what is left in a namespace of one kind.
type content struct {
	kind *kind.Kind
	objs []object.Object
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	ns := control.Get[corev1.Namespace](c.Store, key)
	if ns == nil || ns.DeletionTimestamp == nil {
		return 0, nil
	}
	left := c.left(key.Name)
	var changes []change.Change
	for _, l := range left {
		if l.kind.GroupKind() != control.Pod && left[0].kind.GroupKind() == control.Pod {
			break
		}
		for _, obj := range l.objs {
			if obj.GetDeletionTimestamp() == nil {
				background := metav1.DeletePropagationBackground
				changes = append(changes, control.Guarded(change.Delete(object.KeyOf(l.kind.GroupKind(), obj),
					metav1.DeleteOptions{PropagationPolicy: &background}, c.Now()), control.SameUID(obj.GetUID())))
			}
		}
	}
	deleted := len(changes) > 0
	refused := map[schema.GroupKind]error{} // the first of each kind
	for batch := range slices.Chunk(changes, together) {
		for i, err := range c.CommitParts(ctx, control.Singly(batch)) {
			if kind := batch[i].Key.GroupKind; err != nil && refused[kind] == nil {
				refused[kind] = err
			}
		}
	}
	if len(refused) > 0 {
		if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{c.tell(key, ns, left, refused)}}); err != nil {
			return 0, fmt.Errorf("tell why %s stays: %w", key, err)
		}
		return 0, fmt.Errorf("delete the content of %s: %w", key, errors.Join(slices.Collect(maps.Values(refused))...))
	}
	if deleted {
		left = c.left(key.Name)
	}
	tx := change.Tx{Changes: []change.Change{c.tell(key, ns, left, nil)}}
	if len(left) > 0 {
		_, err := c.Commit(ctx, tx)
		if deleted && left[0].kind.GroupKind() != control.Pod {
			return time.Millisecond, err // the pods went at once: the rest is next
		}
		return again, err
	}
	tx.Changes = append(tx.Changes, control.Guarded(change.PatchFinalize(key.Name, func(ns *corev1.Namespace) bool {
		ns.Spec.Finalizers = slices.DeleteFunc(slices.Clone(ns.Spec.Finalizers), func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
		return true
	}), control.SameUID(ns.UID)))
	if _, err := c.Commit(ctx, tx); err != nil {
		return 0, fmt.Errorf("finalize %s: %w", key, err)
	}
	return 0, nil
}

// left lists what a namespace holds, pods first.
func (c *controller) left(namespace string) []content {
	var all []content
	for _, k := range c.Kinds.Kinds() {
		if !k.Namespaced {
			continue
		}
		if objs, _ := c.Store.List(k.GroupKind(), namespace); len(objs) > 0 {
			all = append(all, content{k, objs})
		}
	}
	slices.SortStableFunc(all, func(a, b content) int {
		switch {
		case a.kind.GroupKind() == control.Pod:
			return -1
		case b.kind.GroupKind() == control.Pod:
			return 1
		}
		return 0
	})
	return all
}

// tell writes how far the deletion is.
func (c *controller) tell(key object.Key, ns *corev1.Namespace, left []content, refused map[schema.GroupKind]error) change.Change {
	now := c.Now()
	return control.Guarded(change.PatchStatus(key, func(obj object.Object) bool {
		stored := obj.(*corev1.Namespace)
		stored.Status.Phase, stored.Status.Conditions = corev1.NamespaceTerminating, conditionsOf(stored.Status.Conditions, left, refused, now)
		return true
	}), control.SameUID(ns.UID))
}

// conditionsOf tells how far the deletion is, in Kubernetes' words. Conditions
// that say the same as before keep their times, and those of others stay.
func conditionsOf(before []corev1.NamespaceCondition, left []content, refused map[schema.GroupKind]error, now time.Time) []corev1.NamespaceCondition {
	all := slices.Clone(before)
	set := func(typ corev1.NamespaceConditionType, bad bool, badReason, badMessage, reason, message string) {
		c := corev1.NamespaceCondition{Type: typ, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now)}
		if bad {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, badReason, badMessage
		}
		i := slices.IndexFunc(all, func(b corev1.NamespaceCondition) bool { return b.Type == typ })
		if i < 0 {
			all = append(all, c)
			return
		}
		if all[i].Status == c.Status {
			c.LastTransitionTime = all[i].LastTransitionTime
		}
		all[i] = c
	}
	var remaining []string
	finalizers := map[string]int{}
	for _, l := range left {
		resource := l.kind.Resource().GroupResource().String() + "."
		if l.kind.Group != "" {
			resource = l.kind.Resource().GroupResource().String()
		}
		remaining = append(remaining, fmt.Sprintf("%s has %d resource instances", resource, len(l.objs)))
		for _, obj := range l.objs {
			for _, f := range obj.GetFinalizers() {
				finalizers[f]++
			}
		}
	}
	slices.Sort(remaining)
	var held []string
	for _, f := range slices.Sorted(maps.Keys(finalizers)) {
		held = append(held, fmt.Sprintf("%s in %d resource instances", f, finalizers[f]))
	}
	var failures []string
	for _, err := range refused {
		failures = append(failures, err.Error())
	}
	slices.Sort(failures)
	set(corev1.NamespaceDeletionDiscoveryFailure, false, "", "", "ResourcesDiscovered", "All resources successfully discovered")
	set(corev1.NamespaceDeletionGVParsingFailure, false, "", "", "ParsedGroupVersions", "All legacy kube types successfully parsed")
	set(corev1.NamespaceDeletionContentFailure, len(failures) > 0, "ContentDeletionFailed", fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(failures), strings.Join(failures, ", ")),
		"ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	set(corev1.NamespaceContentRemaining, len(left) > 0, "SomeResourcesRemain", "Some resources are remaining: "+strings.Join(remaining, ", "), "ContentRemoved", "All content successfully removed")
	set(corev1.NamespaceFinalizersRemaining, len(held) > 0, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+strings.Join(held, ", "), "ContentHasNoFinalizers", "All content-preserving finalizers finished")
	return all
}
