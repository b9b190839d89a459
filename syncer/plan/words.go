package plan

import (
	"strings"

	"headway.dev/manifests/model/object"
)

// Labels and annotations by which objects ask to be treated otherwise. As in
// Flux each may be a label or an annotation, and upper and lower case are the
// same in their values.
const (
	pruneKey     = "kustomize.toolkit.fluxcd.io/prune"
	reconcileKey = "kustomize.toolkit.fluxcd.io/reconcile"
	ssaKey       = "kustomize.toolkit.fluxcd.io/ssa"
	forceKey     = "kustomize.toolkit.fluxcd.io/force"

	disabled     = "disabled"
	enabled      = "enabled"
	ignorePolicy = "Ignore"
	ifNotPresent = "IfNotPresent"
	mergePolicy  = "Merge"
)

// inMetadata says whether an object has the annotation or label.
func inMetadata(obj object.Object, key, value string) bool {
	return obj != nil && (strings.EqualFold(obj.GetAnnotations()[key], value) || strings.EqualFold(obj.GetLabels()[key], value))
}

// excluded is why an object is not applied at all, or empty.
func excluded(want, live object.Object) string {
	switch {
	case inMetadata(want, ssaKey, ignorePolicy):
		return ssaKey + ": " + ignorePolicy
	case live != nil && inMetadata(want, ssaKey, ifNotPresent):
		return ssaKey + ": " + ifNotPresent
	case inMetadata(want, reconcileKey, disabled), live != nil && inMetadata(live, reconcileKey, disabled):
		return reconcileKey + ": " + disabled
	}
	return ""
}

// Spared is why a stored object is not deleted when its manifest goes, or its
// Kustomization; empty if it may be.
func Spared(live object.Object) string {
	switch {
	case inMetadata(live, pruneKey, disabled):
		return pruneKey + ": " + disabled
	case inMetadata(live, reconcileKey, disabled):
		return reconcileKey + ": " + disabled
	case inMetadata(live, ssaKey, ignorePolicy):
		return ssaKey + ": " + ignorePolicy
	}
	return ""
}

// LeftAlone says whether a stored object asks not to be applied: then it is
// not waited for either.
func LeftAlone(live object.Object) bool {
	return inMetadata(live, reconcileKey, disabled) || inMetadata(live, ssaKey, ignorePolicy) || inMetadata(live, ssaKey, ifNotPresent)
}
