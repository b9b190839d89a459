package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/kind"
)

var clusterRoleBinding = kind.Define[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](kind.Definition[*rbacv1.ClusterRoleBinding]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
		Plural:           "clusterrolebindings", Singular: "clusterrolebinding",
	},
})
