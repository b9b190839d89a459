package rbac

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/object"
)

func defaultSubjects(list []rbacv1.Subject) {
	for i := range list {
		switch list[i].Kind {
		case rbacv1.UserKind, rbacv1.GroupKind:
			fill.Zero(&list[i].APIGroup, rbacv1.GroupName)
		}
	}
}

func createdAt(obj object.Object) string {
	stamp := obj.GetCreationTimestamp()
	return stamp.UTC().Format(time.RFC3339)
}

// subjectCells are the cells of a binding's users, groups and service accounts.
func subjectCells(list []rbacv1.Subject) (users, groups, accounts string) {
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
