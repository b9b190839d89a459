package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/kind"
)

var clusterRole = kind.Define[rbacv1.ClusterRole, rbacv1.ClusterRoleList](kind.Definition[*rbacv1.ClusterRole]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("ClusterRole"),
		Plural:           "clusterroles", Singular: "clusterrole",
	},
})
