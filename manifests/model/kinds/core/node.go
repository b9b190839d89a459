package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

var node = kind.Define[corev1.Node, corev1.NodeList](kind.Definition[*corev1.Node]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Node"),
		Plural:           "nodes", Singular: "node",
		ShortNames: []string{"no"},
	},
	Status: true,
})
