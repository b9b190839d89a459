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

var mutatingAdmissionPolicyBinding = kind.Define[admissionregistrationv1.MutatingAdmissionPolicyBinding, admissionregistrationv1.MutatingAdmissionPolicyBindingList](kind.Definition[*admissionregistrationv1.MutatingAdmissionPolicyBinding]{
	Names: kind.Names{
		GroupVersionKind: admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicyBinding"),
		Plural:           "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding",
		Categories: []string{"api-extensions"},
	},
	Order: kind.Anywhere,
	REST:  kind.REST{VersionRequired: true},
	Default: func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) {
		defaultMatchResources(b.Spec.MatchResources)
	},
	Lifecycle: kind.Lifecycle[*admissionregistrationv1.MutatingAdmissionPolicyBinding]{
		Changed: func(b, old *admissionregistrationv1.MutatingAdmissionPolicyBinding) bool {
			return kind.Differ(b.Spec, old.Spec)
		},
	},
	Rules: kind.Rules[*admissionregistrationv1.MutatingAdmissionPolicyBinding]{
		Name:         apivalidation.NameIsDNSSubdomain,
		AnyFinalizer: true,
		Object:       validateMutatingBinding,
	},
	Table: kind.Table[*admissionregistrationv1.MutatingAdmissionPolicyBinding]{
		Columns: column.Define("Name", "PolicyName", "ParamRef", "Age"),
		Row: func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramCell(b.Spec.ParamRef), column.Age(b, now)}
		},
	},
})

func validateMutatingBinding(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	errs := rule.ObjectName(b.Spec.PolicyName, specPath.Child("policyName"))
	errs = append(errs, validateParamRef(b.Spec.ParamRef, specPath.Child("paramRef"))...)
	errs = append(errs, validateMatchResources(b.Spec.MatchResources, specPath.Child("matchResources"))...)
	return append(errs, validateMutable(b.Spec.MatchResources, specPath.Child("matchResources"))...)
}
