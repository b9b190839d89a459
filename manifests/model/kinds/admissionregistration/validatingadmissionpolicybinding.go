package admissionregistration

import (
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var validatingAdmissionPolicyBinding = kind.Define[admissionregistrationv1.ValidatingAdmissionPolicyBinding, admissionregistrationv1.ValidatingAdmissionPolicyBindingList](kind.Definition[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]{
	Names: kind.Names{
		GroupVersionKind: admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicyBinding"),
		Plural:           "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding",
		Categories: []string{"api-extensions"},
	},
	Order: kind.Anywhere,
	REST:  kind.REST{VersionRequired: true},
	Default: func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
		defaultMatchResources(b.Spec.MatchResources)
	},
	Lifecycle: kind.Lifecycle[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]{
		Changed: func(b, old *admissionregistrationv1.ValidatingAdmissionPolicyBinding) bool {
			return kind.Differ(b.Spec, old.Spec)
		},
	},
	Rules: kind.Rules[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]{
		Name:         apivalidation.NameIsDNSSubdomain,
		AnyFinalizer: true,
		Object:       validateValidatingBinding,
	},
	Table: kind.Table[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]{
		Columns: column.Define("Name", "PolicyName", "ParamRef", "Age"),
		Row: func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramCell(b.Spec.ParamRef), column.Age(b, now)}
		},
	},
})

func validateValidatingBinding(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	errs := rule.ObjectName(b.Spec.PolicyName, specPath.Child("policyName"))
	errs = append(errs, validateParamRef(b.Spec.ParamRef, specPath.Child("paramRef"))...)
	errs = append(errs, validateMatchResources(b.Spec.MatchResources, specPath.Child("matchResources"))...)
	return append(errs, validateActions(b.Spec.ValidationActions, specPath.Child("validationActions"))...)
}

func validateActions(actions []admissionregistrationv1.ValidationAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[admissionregistrationv1.ValidationAction]bool{}
	for i, action := range actions {
		errs = append(errs, supported(&action, path.Index(i), admissionregistrationv1.Audit, admissionregistrationv1.Deny, admissionregistrationv1.Warn)...)
		errs = append(errs, rule.Unique(seen, action, path.Index(i))...)
	}
	if seen[admissionregistrationv1.Deny] && seen[admissionregistrationv1.Warn] {
		errs = append(errs, field.Invalid(path, actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	if len(actions) == 0 {
		errs = append(errs, field.Required(path, "at least one validation action is required"))
	}
	return errs
}
