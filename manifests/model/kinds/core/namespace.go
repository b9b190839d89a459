package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

var namespace = kind.Define[corev1.Namespace, corev1.NamespaceList](kind.Definition[*corev1.Namespace]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Namespace"),
		Plural:           "namespaces", Singular: "namespace",
		ShortNames: []string{"ns"},
	},
	Status: true,
})
