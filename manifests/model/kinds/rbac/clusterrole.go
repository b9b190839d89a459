package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
)

var clusterRole = kind.Define[rbacv1.ClusterRole, rbacv1.ClusterRoleList](kind.Definition[*rbacv1.ClusterRole]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("ClusterRole"),
		Plural:           "clusterroles", Singular: "clusterrole",
	},
	REST: kind.REST{CreateOnUpdate: true},
	Table: kind.Table[*rbacv1.ClusterRole]{
		Columns: column.Define("Name", "Created At"),
		Row:     clusterRoleRow,
	},
})

func clusterRoleRow(r *rbacv1.ClusterRole, _ time.Time) []any { return []any{r.Name, createdAt(r)} }
