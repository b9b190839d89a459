package kustomize

import (
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
)

var kustomization = kind.Define[kustomizev1.Kustomization, kustomizev1.KustomizationList](kind.Definition[*kustomizev1.Kustomization]{
	Names: kind.Names{
		GroupVersionKind: kustomizev1.GroupVersion.WithKind("Kustomization"),
		Plural:           "kustomizations", Singular: "kustomization",
		ShortNames: []string{"ks"}, Namespaced: true,
	},
	Status: true,
	REST:   kind.REST{VersionRequired: true},
	Lifecycle: kind.Lifecycle[*kustomizev1.Kustomization]{
		Create: func(k *kustomizev1.Kustomization) { k.Status = kustomizev1.KustomizationStatus{} },
		Update: func(k, old *kustomizev1.Kustomization) { k.Status = old.Status },
		UpdateStatus: func(k, old *kustomizev1.Kustomization) {
			k.Spec = old.Spec
			kind.KeepMeta(&k.ObjectMeta, &old.ObjectMeta)
		},
		Changed: func(k, old *kustomizev1.Kustomization) bool { return kind.Differ(k.Spec, old.Spec) },
	},
	Table: kind.Table[*kustomizev1.Kustomization]{
		Columns: column.Define("Name", "Age", "Ready", "Status"),
		Row:     kustomizationRow,
	},
	Suspension: func(k *kustomizev1.Kustomization) kind.Suspension {
		return kind.Suspension{Suspend: &k.Spec.Suspend, Conditions: &k.Status.Conditions}
	},
})

func kustomizationRow(k *kustomizev1.Kustomization, now time.Time) []any {
	ready, message := column.Ready(k.Status.Conditions)
	return []any{k.Name, column.Age(k, now), ready, message}
}
