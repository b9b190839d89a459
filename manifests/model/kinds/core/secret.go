package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

var secret = kind.Define[corev1.Secret, corev1.SecretList](kind.Definition[*corev1.Secret]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Secret"),
		Plural:           "secrets", Singular: "secret",
		Namespaced: true,
	},
})
