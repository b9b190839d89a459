package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var clusterRole = kind.Define[rbacv1.ClusterRole, rbacv1.ClusterRoleList](kind.Definition[*rbacv1.ClusterRole]{
	Names: kind.Names{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("ClusterRole"),
		Plural:           "clusterroles", Singular: "clusterrole",
	},
	Order: 90,
	REST:  kind.REST{CreateOnUpdate: true},
	Rules: kind.Rules[*rbacv1.ClusterRole]{
		Name:   rule.PathSegmentName,
		Object: validateClusterRole,
	},
	Table: kind.Table[*rbacv1.ClusterRole]{
		Columns: column.Define("Name", "Created At"),
		Row:     clusterRoleRow,
	},
})

func clusterRoleRow(r *rbacv1.ClusterRole, _ time.Time) []any { return []any{r.Name, createdAt(r)} }

func validateClusterRole(r *rbacv1.ClusterRole) field.ErrorList {
	errs := policyRules(r.Rules, false)
	if r.AggregationRule == nil {
		return errs
	}
	selectors := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
		errs = append(errs, field.Required(selectors, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		selector := &r.AggregationRule.ClusterRoleSelectors[i]
		errs = append(errs, metavalidation.ValidateLabelSelector(selector, metavalidation.LabelSelectorValidationOptions{}, selectors.Index(i))...)
		if _, err := metav1.LabelSelectorAsSelector(selector); err != nil {
			errs = append(errs, field.Invalid(selectors.Index(i), selector, "invalid label selector."))
		}
	}
	return errs
}
