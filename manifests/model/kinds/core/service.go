package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

var service = kind.Define[corev1.Service, corev1.ServiceList](kind.Definition[*corev1.Service]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Service"),
		Plural:           "services", Singular: "service",
		ShortNames: []string{"svc"}, Categories: []string{"all"}, Namespaced: true,
	},
	Status: true,
})
