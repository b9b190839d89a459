package kustomize

import (
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/kind"
)

var kustomization = kind.Define[kustomizev1.Kustomization, kustomizev1.KustomizationList](kind.Definition[*kustomizev1.Kustomization]{
	Names: kind.Names{
		GroupVersionKind: kustomizev1.GroupVersion.WithKind("Kustomization"),
		Plural:           "kustomizations", Singular: "kustomization",
		ShortNames: []string{"ks"}, Namespaced: true,
	},
	Status: true,
})
