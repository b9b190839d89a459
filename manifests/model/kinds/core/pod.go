package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

var pod = kind.Define[corev1.Pod, corev1.PodList](kind.Definition[*corev1.Pod]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"),
		Plural:           "pods", Singular: "pod",
		ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true,
	},
	Status: true,
})
