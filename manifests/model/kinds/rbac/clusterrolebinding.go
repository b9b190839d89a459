package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var clusterRoleBinding = kind.Define[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](kind.Definition[*rbacv1.ClusterRoleBinding]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
		Plural:           "clusterrolebindings", Singular: "clusterrolebinding",
	},
	Order:   110,
	REST:    kind.REST{CreateOnUpdate: true},
	Default: defaultClusterRoleBinding,
	Rules: kind.Rules[*rbacv1.ClusterRoleBinding]{
		Name:   rule.PathSegmentName,
		Object: validateClusterRoleBinding,
		Update: validateClusterRoleBindingUpdate,
	},
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

func validateClusterRoleBinding(b *rbacv1.ClusterRoleBinding) field.ErrorList {
	return append(roleRef(b.RoleRef, "ClusterRole"), validateSubjects(b.Subjects, false)...)
}

func validateClusterRoleBindingUpdate(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
	return sameRole(b.RoleRef, old.RoleRef)
}
