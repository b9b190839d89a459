package admissionregistration

import (
	"reflect"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var mutatingAdmissionPolicy = kind.Define[admissionregistrationv1.MutatingAdmissionPolicy, admissionregistrationv1.MutatingAdmissionPolicyList](kind.Definition[*admissionregistrationv1.MutatingAdmissionPolicy]{
	Names: kind.Names{
		GroupVersionKind: admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy"),
		Plural:           "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy",
		Categories: []string{"api-extensions"},
	},
	Order: kind.Anywhere,
	REST:  kind.REST{VersionRequired: true},
	Default: func(p *admissionregistrationv1.MutatingAdmissionPolicy) {
		fill.Unset(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
		defaultMatchResources(p.Spec.MatchConstraints)
	},
	Lifecycle: kind.Lifecycle[*admissionregistrationv1.MutatingAdmissionPolicy]{
		Changed: func(p, old *admissionregistrationv1.MutatingAdmissionPolicy) bool {
			return kind.Differ(p.Spec, old.Spec)
		},
	},
	Rules: kind.Rules[*admissionregistrationv1.MutatingAdmissionPolicy]{
		Name:         apivalidation.NameIsDNSSubdomain,
		AnyFinalizer: true,
		Object: func(p *admissionregistrationv1.MutatingAdmissionPolicy) field.ErrorList {
			return validateMutatingPolicy(p, nil)
		},
		Replaces: validateMutatingPolicy,
	},
	Table: kind.Table[*admissionregistrationv1.MutatingAdmissionPolicy]{
		Columns: column.Define("Name", "#Mutations", "ParamKind", "Age"),
		Row: func(p *admissionregistrationv1.MutatingAdmissionPolicy, now time.Time) []any {
			return []any{p.Name, int64(len(p.Spec.Mutations)), kindCell(p.Spec.ParamKind), column.Age(p, now)}
		},
	},
})

// validateMutatingPolicy judges a policy, which replaces old, or is new if that is
// nil.
func validateMutatingPolicy(p, old *admissionregistrationv1.MutatingAdmissionPolicy) field.ErrorList {
	spec, params := &p.Spec, p.Spec.ParamKind != nil
	errs := needed(spec.FailurePolicy, specPath.Child("failurePolicy"), admissionregistrationv1.Fail, admissionregistrationv1.Ignore)
	errs = append(errs, validateParamKind(spec.ParamKind, specPath.Child("paramKind"))...)
	errs = append(errs, validateConstraints(spec.MatchConstraints, specPath.Child("matchConstraints"))...)
	errs = append(errs, validateMutable(spec.MatchConstraints, specPath.Child("matchConstraints"))...)
	stored := expressions{}
	same := false
	if old != nil {
		stored = mutatingExpressions(&old.Spec)
		same = reflect.DeepEqual(spec.ParamKind, old.Spec.ParamKind) && reflect.DeepEqual(spec.MatchConditions, old.Spec.MatchConditions)
	}
	if !same {
		errs = append(errs, validateConditions(spec.MatchConditions, params, stored, specPath.Child("matchConditions"))...)
	}
	c, err := composed()
	if err != nil {
		return append(errs, errCompiler(err)...)
	}
	errs = append(errs, validateVariables(c, spec.Variables, params, stored, specPath.Child("variables"))...)
	if len(spec.Mutations) == 0 {
		errs = append(errs, field.Required(specPath.Child("mutations"), "mutations must contain at least one item"))
	}
	for i := range spec.Mutations {
		errs = append(errs, validateMutation(c, &spec.Mutations[i], params, stored, specPath.Child("mutations").Index(i))...)
	}
	return append(errs, rule.OneOf(spec.ReinvocationPolicy, specPath.Child("reinvocationPolicy"),
		admissionregistrationv1.IfNeededReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)...)
}

// mutatingExpressions are those that a stored policy has.
func mutatingExpressions(spec *admissionregistrationv1.MutatingAdmissionPolicySpec) expressions {
	stored := expressions{}
	stored.conditions(spec.MatchConditions)
	for _, v := range spec.Variables {
		stored[v.Expression] = true
	}
	for _, m := range spec.Mutations {
		if m.JSONPatch != nil {
			stored[strings.TrimSpace(m.JSONPatch.Expression)] = true
		}
		if m.ApplyConfiguration != nil {
			stored[strings.TrimSpace(m.ApplyConfiguration.Expression)] = true
		}
	}
	return stored
}

func validateMutation(c plugincel.Compiler, m *admissionregistrationv1.Mutation, params bool, stored expressions, path *field.Path) field.ErrorList {
	errs := rule.OneOf(m.PatchType, path.Child("patchType"), admissionregistrationv1.PatchTypeApplyConfiguration, admissionregistrationv1.PatchTypeJSONPatch)
	if len(errs) > 0 {
		return errs
	}
	// The field that the type needs, and the one that it excludes.
	need, other := "applyConfiguration", "jsonPatch"
	missing, excess := m.ApplyConfiguration == nil, m.JSONPatch != nil
	if m.PatchType == admissionregistrationv1.PatchTypeJSONPatch {
		need, other = other, need
		missing, excess = m.JSONPatch == nil, m.ApplyConfiguration != nil
	}
	if missing {
		errs = append(errs, field.Required(path.Child(need), "must be specified when patchType is "+string(m.PatchType)))
	} else {
		errs = append(errs, validatePatch(c, m, params, stored, path.Child(need, "expression"))...)
	}
	if excess {
		errs = append(errs, field.Invalid(path.Child(other), "{"+other+"}", "must not be specified when patchType is "+string(m.PatchType)))
	}
	return errs
}

func validatePatch(c plugincel.Compiler, m *admissionregistrationv1.Mutation, params bool, stored expressions, at *field.Path) field.ErrorList {
	var e plugincel.ExpressionAccessor
	if m.PatchType == admissionregistrationv1.PatchTypeJSONPatch {
		e = &patch.JSONPatchCondition{Expression: strings.TrimSpace(m.JSONPatch.Expression)}
	} else {
		e = &patch.ApplyConfigurationCondition{Expression: strings.TrimSpace(m.ApplyConfiguration.Expression)}
	}
	if e.GetExpression() == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return compile(c, e, plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true, HasPatchTypes: true}, stored, at)
}
