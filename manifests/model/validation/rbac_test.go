package validation_test

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func roleCases(t *testing.T) {
	t.Helper()
	const base = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: "shop:reader", namespace: shop}
rules: [{verbs: [get], apiGroups: [""], resources: [pods]}]
`
	create(t, base, cases[*rbacv1.Role]{
		"no rules":     {func(r *rbacv1.Role) { r.Rules = nil }, nil},
		"no verbs":     {func(r *rbacv1.Role) { r.Rules[0].Verbs = nil }, []string{"rules[0].verbs: Required value: verbs must contain at least one value"}},
		"no groups":    {func(r *rbacv1.Role) { r.Rules[0].APIGroups = nil }, []string{"rules[0].apiGroups: Required value: resource rules must supply at least one api group"}},
		"no resources": {func(r *rbacv1.Role) { r.Rules[0].Resources = nil }, []string{"rules[0].resources: Required value: resource rules must supply at least one resource"}},
		"path": {func(r *rbacv1.Role) {
			r.Rules[0] = rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/x"}}
		}, []string{`rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs`}},
		"name": {func(r *rbacv1.Role) { r.Name = "a/b" }, []string{"metadata.name: Invalid value: \"a/b\": may not contain '/'"}},
	})
	update(t, base, cases[*rbacv1.Role]{
		"no rules": {func(r *rbacv1.Role) { r.Rules = nil }, nil},
		"no verbs": {func(r *rbacv1.Role) { r.Rules[0].Verbs = nil }, []string{"rules[0].verbs: Required value: verbs must contain at least one value"}},
	})
}

func clusterRoleCases(t *testing.T) {
	t.Helper()
	const base = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:reader"}
rules: [{verbs: [get], nonResourceURLs: [/metrics]}]
`
	create(t, base, cases[*rbacv1.ClusterRole]{
		"path":             {func(*rbacv1.ClusterRole) {}, nil},
		"path and pods":    {func(r *rbacv1.ClusterRole) { r.Rules[0].Resources = []string{"pods"} }, []string{`rules[0].nonResourceURLs: Invalid value: ["/metrics"]: rules cannot apply to both regular resources and non-resource URLs`}},
		"nothing gathered": {func(r *rbacv1.ClusterRole) { r.AggregationRule = &rbacv1.AggregationRule{} }, []string{"aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"}},
		"gathered": {func(r *rbacv1.ClusterRole) {
			r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}}
		}, nil},
	})
	update(t, base, cases[*rbacv1.ClusterRole]{
		"two paths":        {func(r *rbacv1.ClusterRole) { r.Rules[0].NonResourceURLs = []string{"/a", "/b/*"} }, nil},
		"nothing gathered": {func(r *rbacv1.ClusterRole) { r.AggregationRule = &rbacv1.AggregationRule{} }, []string{"aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"}},
	})
}

func roleBindingCases(t *testing.T) {
	t.Helper()
	const base = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: b, namespace: shop}
roleRef: {kind: Role, name: reader}
subjects: [{kind: User, name: ada}, {kind: ServiceAccount, name: deployer}]
`
	create(t, base, cases[*rbacv1.RoleBinding]{
		"good":            {func(*rbacv1.RoleBinding) {}, nil},
		"kind of role":    {func(b *rbacv1.RoleBinding) { b.RoleRef.Kind = "Group" }, []string{`roleRef.kind: Unsupported value: "Group": supported values: "Role", "ClusterRole"`}},
		"group of role":   {func(b *rbacv1.RoleBinding) { b.RoleRef.APIGroup = "x" }, []string{`roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"`}},
		"no role":         {func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "" }, []string{"roleRef.name: Required value"}},
		"no subject name": {func(b *rbacv1.RoleBinding) { b.Subjects[0].Name = "" }, []string{"subjects[0].name: Required value"}},
		"kind of subject": {func(b *rbacv1.RoleBinding) { b.Subjects[0].Kind = "Robot" }, []string{`subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"`}},
		"account group":   {func(b *rbacv1.RoleBinding) { b.Subjects[1].APIGroup = "x" }, []string{`subjects[1].apiGroup: Unsupported value: "x": supported values: ""`}},
	})
	update(t, base, cases[*rbacv1.RoleBinding]{
		"subjects": {func(b *rbacv1.RoleBinding) { b.Subjects = nil }, nil},
		"role": {func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "writer" }, []string{
			`roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"writer"}: cannot change roleRef`,
		}},
	})
}

func clusterRoleBindingCases(t *testing.T) {
	t.Helper()
	const base = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: b}
roleRef: {kind: ClusterRole, name: reader}
subjects: [{kind: Group, name: ops}]
`
	create(t, base, cases[*rbacv1.ClusterRoleBinding]{
		"role": {func(b *rbacv1.ClusterRoleBinding) { b.RoleRef.Kind = "Role" }, []string{`roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"`}},
		"account without a namespace": {func(b *rbacv1.ClusterRoleBinding) {
			b.Subjects = []rbacv1.Subject{{Kind: "ServiceAccount", Name: "x"}}
		}, []string{"subjects[0].namespace: Required value"}},
	})
	update(t, base, cases[*rbacv1.ClusterRoleBinding]{
		"subjects": {func(b *rbacv1.ClusterRoleBinding) { b.Subjects = nil }, nil},
		"role": {func(b *rbacv1.ClusterRoleBinding) { b.RoleRef.Name = "writer" }, []string{
			`roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"writer"}: cannot change roleRef`,
		}},
	})
}
