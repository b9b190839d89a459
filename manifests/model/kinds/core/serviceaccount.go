package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

var serviceAccount = kind.Define[corev1.ServiceAccount, corev1.ServiceAccountList](kind.Definition[*corev1.ServiceAccount]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		Plural:           "serviceaccounts", Singular: "serviceaccount",
		ShortNames: []string{"sa"}, Namespaced: true,
	},
})
