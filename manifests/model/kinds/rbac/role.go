package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/kind"
)

var role = kind.Define[rbacv1.Role, rbacv1.RoleList](kind.Definition[*rbacv1.Role]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("Role"),
		Plural:           "roles", Singular: "role",
		Namespaced: true,
	},
})
