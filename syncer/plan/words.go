package plan

import (
	"strings"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

// Values of the annotations or labels by which objects ask to be treated
// otherwise.
const (
	disabled     = "disabled"
	enabled      = "enabled"
	ignorePolicy = "Ignore"
	ifNotPresent = "IfNotPresent"
	mergePolicy  = "Merge"
)

// inMetadata reports whether an object has the annotation or label.
func inMetadata(obj object.Object, key, value string) bool {
	return obj != nil && (strings.EqualFold(obj.GetAnnotations()[key], value) || strings.EqualFold(obj.GetLabels()[key], value))
}

// excluded is why an object is not applied at all, or empty.
func excluded(want, live object.Object) string {
	switch {
	case inMetadata(want, flux.ServerSideApply, ignorePolicy):
		return flux.ServerSideApply + ": " + ignorePolicy
	case live != nil && inMetadata(want, flux.ServerSideApply, ifNotPresent):
		return flux.ServerSideApply + ": " + ifNotPresent
	case inMetadata(want, flux.Reconcile, disabled), live != nil && inMetadata(live, flux.Reconcile, disabled):
		return flux.Reconcile + ": " + disabled
	}
	return ""
}

// Spared returns why a stored object is not deleted when its manifest, or its
// Kustomization, is removed; empty if it may be.
func Spared(live object.Object) string {
	switch {
	case inMetadata(live, flux.Prune, disabled):
		return flux.Prune + ": " + disabled
	case inMetadata(live, flux.Reconcile, disabled):
		return flux.Reconcile + ": " + disabled
	case inMetadata(live, flux.ServerSideApply, ignorePolicy):
		return flux.ServerSideApply + ": " + ignorePolicy
	}
	return ""
}

// LeftAlone reports whether a stored object asks not to be applied; then it is
// not waited for either.
func LeftAlone(live object.Object) bool {
	return inMetadata(live, flux.Reconcile, disabled) || inMetadata(live, flux.ServerSideApply, ignorePolicy) || inMetadata(live, flux.ServerSideApply, ifNotPresent)
}
