package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var clusterRoleBinding = kind.Define[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](kind.Definition[*rbacv1.ClusterRoleBinding]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
		Plural:           "clusterrolebindings", Singular: "clusterrolebinding",
	},
	REST:    kind.REST{CreateOnUpdate: true},
	Default: defaultClusterRoleBinding,
	Table: kind.Table[*rbacv1.ClusterRoleBinding]{
		Columns: column.Define("Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"),
		Row:     clusterRoleBindingRow,
	},
})

func defaultClusterRoleBinding(b *rbacv1.ClusterRoleBinding) {
	fill.Zero(&b.RoleRef.APIGroup, rbacv1.GroupName)
	defaultSubjects(b.Subjects)
}

func clusterRoleBindingRow(b *rbacv1.ClusterRoleBinding, now time.Time) []any {
	users, groups, accounts := subjectCells(b.Subjects)
	return []any{b.Name, b.RoleRef.Kind + "/" + b.RoleRef.Name, column.Age(b, now), users, groups, accounts}
}
