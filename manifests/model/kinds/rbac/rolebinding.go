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

var roleBinding = kind.Define[rbacv1.RoleBinding, rbacv1.RoleBindingList](kind.Definition[*rbacv1.RoleBinding]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
		Plural:           "rolebindings", Singular: "rolebinding",
		Namespaced: true,
	},
	Order:   100,
	REST:    kind.REST{CreateOnUpdate: true},
	Default: defaultRoleBinding,
	Rules: kind.Rules[*rbacv1.RoleBinding]{
		Name:   rule.PathSegmentName,
		Object: validateRoleBinding,
		Update: validateRoleBindingUpdate,
	},
	Table: kind.Table[*rbacv1.RoleBinding]{
		Columns: column.Define("Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"),
		Row:     roleBindingRow,
	},
})

func defaultRoleBinding(b *rbacv1.RoleBinding) {
	fill.Zero(&b.RoleRef.APIGroup, rbacv1.GroupName)
	defaultSubjects(b.Subjects)
}

func roleBindingRow(b *rbacv1.RoleBinding, now time.Time) []any {
	users, groups, accounts := subjectCells(b.Subjects)
	return []any{b.Name, b.RoleRef.Kind + "/" + b.RoleRef.Name, column.Age(b, now), users, groups, accounts}
}

func validateRoleBinding(b *rbacv1.RoleBinding) field.ErrorList {
	return append(roleRef(b.RoleRef, "Role", "ClusterRole"), validateSubjects(b.Subjects, true)...)
}

func validateRoleBindingUpdate(b, old *rbacv1.RoleBinding) field.ErrorList {
	return sameRole(b.RoleRef, old.RoleRef)
}
