// Package defaults sets the fields that a manifest omits to the values that the
// Kubernetes and Flux API references give. What depends on the cluster, such as
// the priority of a pod, is set by its admission (engine/admission/plugins).
//
// Each kind's defaults are in its definition, in manifests/model/kinds; what
// kinds share is in manifests/model/fill. All of it is pure and safe for
// concurrent use on different objects.
package defaults

import (
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Apply sets every unset field of obj that has a default. It changes obj in
// place and is idempotent. Kinds without defaults (a Kustomization's are all
// zero values) are left as they are.
func Apply(obj object.Object) {
	k, _ := scheme.ForObject(obj)
	ApplyOf(k, obj)
}

// ApplyOf is Apply for an object of a kind, which may be a custom one, or nil if it is
// not served.
func ApplyOf(k *kind.Kind, obj object.Object) {
	if k != nil && k.Default != nil {
		k.Default(obj)
	}
}
