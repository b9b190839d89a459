package rbac

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
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

func policyRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		errs = append(errs, policyRule(&rules[i], namespaced, field.NewPath("rules").Index(i))...)
	}
	return errs
}

func policyRule(r *rbacv1.PolicyRule, namespaced bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Verbs) == 0 {
		errs = append(errs, field.Required(at.Child("verbs"), "verbs must contain at least one value"))
	}
	if len(r.NonResourceURLs) > 0 {
		urls := at.Child("nonResourceURLs")
		if namespaced {
			errs = append(errs, field.Invalid(urls, r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
		}
		if len(r.APIGroups) > 0 || len(r.Resources) > 0 || len(r.ResourceNames) > 0 {
			errs = append(errs, field.Invalid(urls, r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
		}
		return errs
	}
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	if len(r.Resources) == 0 {
		errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
	}
	return errs
}

func sameRole(ref, old rbacv1.RoleRef) field.ErrorList {
	if ref == old {
		return nil
	}
	// Kubernetes shows its internal type here, whose fields have no JSON names.
	value := struct{ APIGroup, Kind, Name string }(ref)
	return field.ErrorList{field.Invalid(field.NewPath("roleRef"), value, "cannot change roleRef")}
}

func roleRef(ref rbacv1.RoleRef, kinds ...string) field.ErrorList {
	at := field.NewPath("roleRef")
	errs := rule.NotSupported(ref.APIGroup, at.Child("apiGroup"), rbacv1.GroupName)
	errs = append(errs, rule.NotSupported(ref.Kind, at.Child("kind"), kinds...)...)
	if ref.Name == "" {
		return append(errs, field.Required(at.Child("name"), ""))
	}
	return append(errs, rule.Invalid(at.Child("name"), ref.Name, rule.PathSegmentName(ref.Name, false))...)
}

func validateSubjects(list []rbacv1.Subject, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i, s := range list {
		at := field.NewPath("subjects").Index(i)
		if s.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			if s.Name != "" {
				errs = append(errs, rule.Invalid(at.Child("name"), s.Name, apivalidation.ValidateServiceAccountName(s.Name, false))...)
			}
			errs = append(errs, rule.NotSupported(s.APIGroup, at.Child("apiGroup"), "")...)
			if !namespaced && s.Namespace == "" {
				errs = append(errs, field.Required(at.Child("namespace"), ""))
			}
		case rbacv1.UserKind, rbacv1.GroupKind:
			errs = append(errs, rule.NotSupported(s.APIGroup, at.Child("apiGroup"), rbacv1.GroupName)...)
		default:
			errs = append(errs, rule.NotSupported(s.Kind, at.Child("kind"), rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)...)
		}
	}
	return errs
}
