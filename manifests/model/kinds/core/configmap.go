package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

var configMap = kind.Define[corev1.ConfigMap, corev1.ConfigMapList](kind.Definition[*corev1.ConfigMap]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Plural:           "configmaps", Singular: "configmap",
		ShortNames: []string{"cm"}, Namespaced: true,
	},
})
