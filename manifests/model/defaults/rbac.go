package defaults

import rbacv1 "k8s.io/api/rbac/v1"

func roleBinding(b *rbacv1.RoleBinding) {
	zero(&b.RoleRef.APIGroup, rbacv1.GroupName)
	subjects(b.Subjects)
}

func clusterRoleBinding(b *rbacv1.ClusterRoleBinding) {
	zero(&b.RoleRef.APIGroup, rbacv1.GroupName)
	subjects(b.Subjects)
}

func subjects(list []rbacv1.Subject) {
	for i := range list {
		switch list[i].Kind {
		case rbacv1.UserKind, rbacv1.GroupKind:
			zero(&list[i].APIGroup, rbacv1.GroupName)
		}
	}
}
