package lifecycle

import (
	"reflect"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	typeGitRepository = reflect.TypeFor[*sourcev1.GitRepository]()
	typeKustomization = reflect.TypeFor[*kustomizev1.Kustomization]()
)

var gitRepositoryStrategy = strategy{
	create: create1(func(r *sourcev1.GitRepository) { r.Status = sourcev1.GitRepositoryStatus{} }),
	update: update2(func(r, old *sourcev1.GitRepository) { r.Status = old.Status }),
	updateStatus: update2(func(r, old *sourcev1.GitRepository) {
		r.Spec = old.Spec
		keepMeta(&r.ObjectMeta, &old.ObjectMeta)
	}),
	changed: changed2(func(r, old *sourcev1.GitRepository) bool { return differ(r.Spec, old.Spec) }),
}

var kustomizationStrategy = strategy{
	create: create1(func(k *kustomizev1.Kustomization) { k.Status = kustomizev1.KustomizationStatus{} }),
	update: update2(func(k, old *kustomizev1.Kustomization) { k.Status = old.Status }),
	updateStatus: update2(func(k, old *kustomizev1.Kustomization) {
		k.Spec = old.Spec
		keepMeta(&k.ObjectMeta, &old.ObjectMeta)
	}),
	changed: changed2(func(k, old *kustomizev1.Kustomization) bool { return differ(k.Spec, old.Spec) }),
}

// keepMeta undoes every change of the metadata but those that a status write
// of a custom resource makes: managedFields and the version it is based on.
func keepMeta(meta, old *metav1.ObjectMeta) {
	managed, version := meta.ManagedFields, meta.ResourceVersion
	old.DeepCopyInto(meta)
	meta.ManagedFields, meta.ResourceVersion = managed, version
}
