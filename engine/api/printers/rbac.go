package printers

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/object"
)

func roleRow(r *rbacv1.Role, _ time.Time) []any { return []any{r.Name, createdAt(r)} }

func clusterRoleRow(r *rbacv1.ClusterRole, _ time.Time) []any { return []any{r.Name, createdAt(r)} }

func createdAt(obj object.Object) string {
	stamp := obj.GetCreationTimestamp()
	return stamp.UTC().Format(time.RFC3339)
}

func roleBindingRow(b *rbacv1.RoleBinding, now time.Time) []any {
	users, groups, accounts := subjects(b.Subjects)
	return []any{b.Name, b.RoleRef.Kind + "/" + b.RoleRef.Name, age(b, now), users, groups, accounts}
}

func clusterRoleBindingRow(b *rbacv1.ClusterRoleBinding, now time.Time) []any {
	users, groups, accounts := subjects(b.Subjects)
	return []any{b.Name, b.RoleRef.Kind + "/" + b.RoleRef.Name, age(b, now), users, groups, accounts}
}

// subjects are the cells of a binding's users, groups and service accounts.
func subjects(list []rbacv1.Subject) (users, groups, accounts string) {
	var u, g, a []string
	for _, s := range list {
		switch s.Kind {
		case rbacv1.UserKind:
			u = append(u, s.Name)
		case rbacv1.GroupKind:
			g = append(g, s.Name)
		case rbacv1.ServiceAccountKind:
			a = append(a, s.Namespace+"/"+s.Name)
		}
	}
	return strings.Join(u, ", "), strings.Join(g, ", "), strings.Join(a, ", ")
}
