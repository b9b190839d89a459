package flux

import (
	"cmp"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// The kinds that the syncer reconciles, and those that they refer to.
var (
	GitRepository  = schema.GroupKind{Group: sourcev1.GroupVersion.Group, Kind: "GitRepository"}
	Kustomization  = schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: "Kustomization"}
	Secret         = schema.GroupKind{Kind: "Secret"}
	ConfigMap      = schema.GroupKind{Kind: "ConfigMap"}
	Namespace      = schema.GroupKind{Kind: "Namespace"}
	ServiceAccount = schema.GroupKind{Kind: "ServiceAccount"}
)

// KeyOf returns the key of a Kustomization.
func KeyOf(ks *kustomizev1.Kustomization) object.Key {
	return object.KeyOf(Kustomization, ks)
}

// SourceKey returns the key of the source that a Kustomization refers to, of
// whatever kind that is. All kinds of sources are of one group.
func SourceKey(ks *kustomizev1.Kustomization) object.Key {
	ref := ks.Spec.SourceRef
	kind := schema.GroupKind{Group: sourcev1.GroupVersion.Group, Kind: ref.Kind}
	return object.Key{GroupKind: kind, Namespace: cmp.Or(ref.Namespace, ks.Namespace), Name: ref.Name}
}

// HealthChecks returns the objects that spec.healthChecks names.
func HealthChecks(ks *kustomizev1.Kustomization) []object.Key {
	var keys []object.Key
	for _, c := range ks.Spec.HealthChecks {
		gv, _ := schema.ParseGroupVersion(c.APIVersion)
		keys = append(keys, object.Key{GroupKind: schema.GroupKind{Group: gv.Group, Kind: c.Kind}, Namespace: c.Namespace, Name: c.Name})
	}
	return keys
}
