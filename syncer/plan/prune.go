package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/diff"
)

// prune decides about what was applied before and is no longer wanted. leaving is what
// was deleted before. kept stays in the inventory: until its successor has it, it is
// ours to delete, should the successor not want it any more.
func prune(in Input, wanted *wanted, stored object.Reader) (actions, leaving []Action, kept []object.Key, errs []*Error) {
	if !in.Prune {
		return nil, nil, nil, nil
	}
	var gone []object.Key
	for _, key := range in.Inventory {
		if !wanted.has(key) {
			gone = append(gone, key)
		}
	}
	sortKeys(gone)
	for _, key := range slices.Backward(gone) {
		if in.Unseen != nil && in.Unseen(key) {
			actions = append(actions, Action{Type: Delete, Key: key, Reason: unseenReason})
			continue
		}
		live := stored.Get(key)
		if live == nil {
			continue
		}
		if live.GetDeletionTimestamp() != nil {
			leaving = append(leaving, Action{Key: key, Live: live})
			continue
		}
		a := Action{Type: Delete, Key: key, Live: live}
		if reason := cmp.Or(permanent(key), Spared(live)); reason != "" {
			a.Type, a.Reason = Skip, reason
		} else if owner, ok := OwnerOf(live); !ok || owner != in.Owner {
			// Its labels say that it is no longer ours.
			a.Type, a.Reason = Skip, "its labels no longer name this Kustomization"
		} else if successor, ok := successorOf(in, key); ok {
			a.Type, a.Successor, a.Reason = Skip, &successor, fmt.Sprintf("the Kustomization %s takes it over", successor.Owner)
			if successor.Unsure {
				a.Reason = fmt.Sprintf("the Kustomization %s, which cannot be rendered, may take it over", successor.Owner)
			}
			kept = append(kept, key)
		} else if g, other, lives, ok := goesAlong(in, key, live); ok && in.Released {
			a.Type, a.Reason = Skip, fmt.Sprintf("the Kustomization %s declares %s%s", other, nameOf(lives), g.stays)
		} else {
			if ok {
				errs = append(errs, &Error{Key: key, Reason: fmt.Sprintf("is no longer declared, and would be deleted with all %s, "+
					"%s of the Kustomization %s included: declare it, or %s those objects", g.all, nameOf(lives), other, g.instead)})
			}
			a.Fields = diff.Objects(live, nil)
		}
		actions = append(actions, a)
	}
	return actions, leaving, kept, errs
}

// holdBack has everything else wait until the custom resources are gone whose definition
// goes with them: what finishes their deletion, an operator with its rights and webhooks,
// is most likely among it. It returns what stays in the inventory for that.
func holdBack(actions, leaving []Action) (kept []object.Key) {
	kinds := map[schema.GroupKind]bool{}
	for _, a := range actions {
		if crd, ok := a.Live.(*apiextensionsv1.CustomResourceDefinition); ok && a.Type == Delete {
			kinds[schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}] = true
		}
	}
	reason := ""
	for _, a := range slices.Concat(actions, leaving) {
		finalizers := pending(a.Live)
		if !kinds[a.Key.GroupKind] || len(finalizers) == 0 || a.Type == Skip {
			continue
		}
		kept = append(kept, a.Key)
		if reason == "" {
			reason = fmt.Sprintf("it stays until %s is gone, which waits for its finalizers: %s", nameOf(a.Key), strings.Join(finalizers, ", "))
		}
	}
	if reason == "" {
		return nil
	}
	for i := range actions {
		a := &actions[i]
		if _, custom := a.Live.(*unstructured.Unstructured); a.Type == Delete && !custom && a.Live != nil {
			a.Type, a.Held, a.Reason, a.Fields = Skip, true, reason, nil
			kept = append(kept, a.Key)
		}
	}
	return kept
}

// pending are the finalizers of an object that others have to remove.
func pending(obj object.Object) []string {
	if obj == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), func(f string) bool {
		return f == metav1.FinalizerDeleteDependents || f == metav1.FinalizerOrphanDependents
	})
}

// permanent is why an object cannot be deleted, by anyone.
func permanent(key object.Key) string {
	if k, ok := scheme.ForKind(key.GroupKind); ok && k.Lifecycle.Permanent != nil {
		return k.Lifecycle.Permanent(key.Name)
	}
	return ""
}

// along are the words for what is deleted with an object.
type along struct{ all, stays, instead string }

// goesAlong is an object of another Kustomization that would be deleted with a Namespace
// or a CustomResourceDefinition.
func goesAlong(in Input, key object.Key, live object.Object) (along, Owner, object.Key, bool) {
	if in.Resident == nil {
		return along{}, Owner{}, object.Key{}, false
	}
	words := along{"that is in it", " in it", "move"}
	goes := func(other object.Key) bool { return other.Namespace == key.Name }
	if crd, ok := live.(*apiextensionsv1.CustomResourceDefinition); ok {
		words = along{"objects of its kind", ", which would go with it", "remove"}
		goes = func(other object.Key) bool { return other.Group == crd.Spec.Group && other.Kind == crd.Spec.Names.Kind }
	} else if key.GroupKind != namespaceKind {
		return along{}, Owner{}, object.Key{}, false
	}
	other, lives, ok := in.Resident(goes)
	return words, other, lives, ok
}

func nameOf(key object.Key) string {
	if key.Namespace == "" {
		return key.Kind + " " + key.Name
	}
	return key.Kind + " " + key.Namespace + "/" + key.Name
}

func successorOf(in Input, key object.Key) (Successor, bool) {
	if in.Successor == nil {
		return Successor{}, false
	}
	return in.Successor(key)
}

// doomed are the faults of objects that are wanted in a namespace that is
// pruned, or whose definition is: they would be gone as soon as they are stored.
func doomed(actions, deletes []Action) []*Error {
	namespaces, kinds := map[string]bool{}, map[schema.GroupKind]string{}
	for _, a := range deletes {
		if a.Type != Delete {
			continue
		}
		if a.Key.GroupKind == namespaceKind {
			namespaces[a.Key.Name] = true
		}
		if crd, ok := a.Live.(*apiextensionsv1.CustomResourceDefinition); ok {
			kinds[schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}] = crd.Name
		}
	}
	if len(namespaces)+len(kinds) == 0 {
		return nil
	}
	var errs []*Error
	for _, a := range actions {
		if a.Type == Skip {
			continue
		}
		if namespaces[a.Key.Namespace] {
			errs = append(errs, &Error{Source: a.Source, Key: a.Key, Reason: fmt.Sprintf(
				"the Namespace %s is no longer declared, and would be deleted with all that is in it: declare it, or move the object", a.Key.Namespace)})
		}
		if crd, ok := kinds[a.Key.GroupKind]; ok {
			errs = append(errs, &Error{Source: a.Source, Key: a.Key, Reason: fmt.Sprintf(
				"the CustomResourceDefinition %s is no longer declared, and would be deleted with all objects of its kind: declare it, or remove the object, too", crd)})
		}
	}
	return errs
}
