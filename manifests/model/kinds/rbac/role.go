package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var role = kind.Define[rbacv1.Role, rbacv1.RoleList](kind.Definition[*rbacv1.Role]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("Role"),
		Plural:           "roles", Singular: "role",
		Namespaced: true,
	},
	Order: 80,
	REST:  kind.REST{CreateOnUpdate: true},
	Rules: kind.Rules[*rbacv1.Role]{
		Name:   rule.PathSegmentName,
		Object: validateRole,
	},
	Table: kind.Table[*rbacv1.Role]{
		Columns: column.Define("Name", "Created At"),
		Row:     roleRow,
	},
})

func roleRow(r *rbacv1.Role, _ time.Time) []any { return []any{r.Name, createdAt(r)} }

func validateRole(r *rbacv1.Role) field.ErrorList { return policyRules(r.Rules, true) }
