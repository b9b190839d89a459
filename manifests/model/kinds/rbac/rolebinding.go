package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/kind"
)

var roleBinding = kind.Define[rbacv1.RoleBinding, rbacv1.RoleBindingList](kind.Definition[*rbacv1.RoleBinding]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
		Plural:           "rolebindings", Singular: "rolebinding",
		Namespaced: true,
	},
})
