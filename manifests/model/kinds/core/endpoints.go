package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

var endpoints = kind.Define[corev1.Endpoints, corev1.EndpointsList](kind.Definition[*corev1.Endpoints]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Endpoints"),
		Plural:           "endpoints", Singular: "endpoints",
		ShortNames: []string{"ep"}, Namespaced: true,
	},
})
