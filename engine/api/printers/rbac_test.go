package printers_test

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRoleBinding(t *testing.T) {
	b := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "b"},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"},
		Subjects: []rbacv1.Subject{
			{Kind: "User", Name: "ada"},
			{Kind: "User", Name: "bob"},
			{Kind: "Group", Name: "ops"},
			{Kind: "ServiceAccount", Namespace: "shop", Name: "deployer"},
		},
	}
	if got, want := row(t, b), "b|ClusterRole/edit|<unknown>|ada, bob|ops|shop/deployer"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
