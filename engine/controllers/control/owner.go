package control

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Claims is the result of matching objects with a controller's selector and
// with their controller references.
type Claims struct {
	// Owned objects have the controller's reference and match its selector.
	Owned []object.Object
	// Adopt are those without a controller that match.
	Adopt []object.Object
	// Release are those that no longer match.
	Release []object.Object
}

// Claim sorts owned objects (those with a controller reference to owner) and
// orphans (those of the namespace without one). An owner that is being deleted
// adopts nothing.
func Claim(owner object.Object, selector labels.Selector, owned, orphans []object.Object) Claims {
	var c Claims
	for _, obj := range owned {
		switch {
		case selector.Matches(labels.Set(obj.GetLabels())):
			c.Owned = append(c.Owned, obj)
		case obj.GetDeletionTimestamp() == nil:
			c.Release = append(c.Release, obj)
		}
	}
	if owner.GetDeletionTimestamp() != nil {
		return c
	}
	for _, obj := range orphans {
		if obj.GetDeletionTimestamp() == nil && selector.Matches(labels.Set(obj.GetLabels())) {
			c.Adopt = append(c.Adopt, obj)
		}
	}
	return c
}

// Changes writes the adoptions and releases, for objects of one kind.
func (c Claims) Changes(kind schema.GroupKind, ref metav1.OwnerReference) []change.Change {
	var changes []change.Change
	for _, obj := range c.Adopt {
		changes = append(changes, patchSame(kind, obj, func(current object.Object) bool {
			if metav1.GetControllerOf(current) != nil {
				return false
			}
			current.SetOwnerReferences(append(current.GetOwnerReferences(), ref))
			return true
		}))
	}
	for _, obj := range c.Release {
		changes = append(changes, patchSame(kind, obj, func(current object.Object) bool {
			refs := current.GetOwnerReferences()
			kept := make([]metav1.OwnerReference, 0, len(refs))
			for _, r := range refs {
				if r.UID != ref.UID {
					kept = append(kept, r)
				}
			}
			current.SetOwnerReferences(kept)
			return len(kept) != len(refs)
		}))
	}
	return changes
}

// patchSame patches the very object, not another of its name.
func patchSame(kind schema.GroupKind, obj object.Object, edit func(object.Object) bool) change.Change {
	key := object.KeyOf(kind, obj)
	return Guarded(change.Patch(key, edit), SameUID(obj.GetUID()))
}

// SameUID returns a condition for Guarded.
func SameUID(uid types.UID) func(object.Object) bool {
	return func(current object.Object) bool { return current.GetUID() == uid }
}

// ByController is an index function: the UID of an object's controller, or,
// without one, the namespace and each of its labels.
func ByController(obj object.Object) []string {
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
		return []string{string(ref.UID)}
	}
	return anyPair(obj.GetNamespace(), obj.GetLabels())
}

// Orphans is a value under which ByController has all of a namespace's objects
// without a controller that a selector matches, and others.
func Orphans(namespace string, selector *metav1.LabelSelector) string {
	return onePair(namespace, selector)
}

// BySelector returns an index function that files owners so that AdopterKeys
// finds those that may select an object without looking at all others.
func BySelector(selector func(object.Object) *metav1.LabelSelector) func(object.Object) []string {
	return func(owner object.Object) []string { return []string{onePair(owner.GetNamespace(), selector(owner))} }
}

// SelectorOf is the selector by which a workload finds its pods, nil for other objects.
func SelectorOf(obj object.Object) *metav1.LabelSelector {
	switch owner := obj.(type) {
	case *appsv1.Deployment:
		return owner.Spec.Selector
	case *appsv1.DaemonSet:
		return owner.Spec.Selector
	case *appsv1.StatefulSet:
		return owner.Spec.Selector
	case *batchv1.Job:
		return owner.Spec.Selector
	default:
		return nil
	}
}

// PodSpecOf is the spec of the pods that a workload makes itself, nil for other objects.
func PodSpecOf(obj object.Object) *corev1.PodSpec {
	switch owner := obj.(type) {
	case *appsv1.DaemonSet:
		return &owner.Spec.Template.Spec
	case *appsv1.StatefulSet:
		return &owner.Spec.Template.Spec
	case *batchv1.Job:
		return &owner.Spec.Template.Spec
	default:
		return nil
	}
}

// onePair names one pair of labels that all objects have which the selector
// matches, or only the namespace if it asks for none.
func onePair(namespace string, selector *metav1.LabelSelector) string {
	if selector == nil || len(selector.MatchLabels) == 0 {
		return namespace + "/"
	}
	key := slices.Min(slices.Collect(maps.Keys(selector.MatchLabels)))
	return namespace + "/" + key + "=" + selector.MatchLabels[key]
}

// anyPair are all values of onePair under which an object is found.
func anyPair(namespace string, labels map[string]string) []string {
	values := make([]string, 0, len(labels)+1)
	values = append(values, namespace+"/")
	for k, v := range labels {
		values = append(values, namespace+"/"+k+"="+v)
	}
	return values
}

// AdopterKeys calls add with the keys of those owners, all of kind, that adopt
// an event's object: it has no controller, and their selector matches it. The
// index is one by BySelector.
func AdopterKeys(ev object.Event, kind schema.GroupKind, owners *Index, selector func(object.Object) *metav1.LabelSelector, add func(object.Key)) {
	if metav1.GetControllerOfNoCopy(ev.Object) != nil || ev.Type == object.Deleted {
		return
	}
	for _, owner := range Selecting(ev.Object, owners, selector) {
		if matcher, err := metav1.LabelSelectorAsSelector(selector(owner)); err == nil && !matcher.Empty() {
			add(object.KeyOf(kind, owner))
		}
	}
}

// Selecting returns the objects of an index by BySelector whose selector matches obj,
// an empty one included.
func Selecting(obj object.Object, index *Index, selector func(object.Object) *metav1.LabelSelector) []object.Object {
	var found []object.Object
	for _, value := range anyPair(obj.GetNamespace(), obj.GetLabels()) {
		for _, one := range index.Get(value) {
			matcher, err := metav1.LabelSelectorAsSelector(selector(one))
			if err == nil && matcher.Matches(labels.Set(obj.GetLabels())) {
				found = append(found, one)
			}
		}
	}
	return found
}

// ByLabel is an index function: the namespace with each label of an object.
func ByLabel(obj object.Object) []string {
	pairs := make([]string, 0, len(obj.GetLabels()))
	for k, v := range obj.GetLabels() {
		pairs = append(pairs, Pair(obj.GetNamespace(), k, v))
	}
	return pairs
}

// Pair is the value under which ByLabel has the objects of a namespace with a label.
func Pair(namespace, key, value string) string { return namespace + "/" + key + "=" + value }

// ControllerKeys calls add with the keys of the controllers of kind that an
// event's object has and had.
func ControllerKeys(ev object.Event, kind schema.GroupKind, add func(object.Key)) {
	for _, obj := range []object.Object{ev.Old, ev.Object} {
		if obj == nil {
			continue
		}
		ref := metav1.GetControllerOfNoCopy(obj)
		if ref == nil || ref.Kind != kind.Kind {
			continue
		}
		if gv, err := schema.ParseGroupVersion(ref.APIVersion); err == nil && gv.Group == kind.Group {
			add(object.Key{GroupKind: kind, Namespace: obj.GetNamespace(), Name: ref.Name})
		}
	}
}
