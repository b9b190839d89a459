package plan

import (
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/manifests/model/object"
)

// suspended says whether something that follows Git is suspended.
func suspended(obj object.Object) bool {
	switch obj := obj.(type) {
	case *kustomizev1.Kustomization:
		return obj.Spec.Suspend
	case *sourcev1.GitRepository:
		return obj.Spec.Suspend
	}
	return false
}

// keepSuspended makes the patch leave spec.suspend alone where the object is
// suspended: whoever suspends one that is itself in Git must not be undone by
// what applies it. It is resumed in the way in which it was suspended.
func keepSuspended(patch map[string]any, live object.Object) {
	if !suspended(live) {
		return
	}
	if spec, ok := patch["spec"].(map[string]any); ok && spec["suspend"] != true {
		delete(spec, "suspend")
	}
}

// exemptOf are the fields of a stored object that stay whoever set them.
func exemptOf(live object.Object) *fieldpath.Set {
	set := exempt()
	if suspended(live) {
		set.Insert(fieldpath.MakePathOrDie("spec", "suspend"))
	}
	return set
}
