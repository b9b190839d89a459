package plan

import (
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
)

// prune decides about what was applied before and is no longer wanted. kept
// stays in the inventory: until its successor has it, it is ours to delete, should
// the successor not want it any more.
func prune(in Input, wanted *wanted, stored object.Reader) (actions []Action, kept []object.Key, errs []*Error) {
	if !in.Prune {
		return nil, nil, nil
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
		if live == nil || live.GetDeletionTimestamp() != nil {
			continue
		}
		a := Action{Type: Delete, Key: key, Live: live}
		if reason := Spared(live); reason != "" {
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
		} else if other, lives, ok := residentOf(in, key); ok && in.Released {
			a.Type, a.Reason = Skip, fmt.Sprintf("the Kustomization %s declares %s in it", other, nameOf(lives))
		} else {
			if ok {
				errs = append(errs, &Error{Key: key, Reason: fmt.Sprintf("is no longer declared, and would be deleted with all that is in it, "+
					"%s of the Kustomization %s included: declare it, or move those objects", nameOf(lives), other)})
			}
			a.Fields = diff.Objects(live, nil)
		}
		actions = append(actions, a)
	}
	return actions, kept, errs
}

// residentOf is an object of another Kustomization that would be deleted with a
// Namespace.
func residentOf(in Input, key object.Key) (Owner, object.Key, bool) {
	if in.Resident == nil || key.GroupKind != namespaceKind {
		return Owner{}, object.Key{}, false
	}
	return in.Resident(key.Name)
}

func nameOf(key object.Key) string { return key.Kind + " " + key.Namespace + "/" + key.Name }

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
