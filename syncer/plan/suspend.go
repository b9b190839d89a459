package plan

import (
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// suspended reports whether something that follows Git is suspended.
func suspended(obj object.Object) bool {
	k, ok := scheme.ForObject(obj)
	return ok && k.Suspension != nil && *k.Suspension(obj).Suspend
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
