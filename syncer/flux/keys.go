package flux

import (
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

// SourceKey returns the key of the GitRepository that a Kustomization refers
// to.
func SourceKey(ks *kustomizev1.Kustomization) object.Key {
	key := object.Key{GroupKind: GitRepository, Namespace: ks.Spec.SourceRef.Namespace, Name: ks.Spec.SourceRef.Name}
	if key.Namespace == "" {
		key.Namespace = ks.Namespace
	}
	return key
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
