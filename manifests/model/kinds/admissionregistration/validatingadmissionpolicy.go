package admissionregistration

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/util/jsonpath"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

var validatingAdmissionPolicy = kind.Define[admissionregistrationv1.ValidatingAdmissionPolicy, admissionregistrationv1.ValidatingAdmissionPolicyList](kind.Definition[*admissionregistrationv1.ValidatingAdmissionPolicy]{
	Names: kind.Names{
		GroupVersionKind: admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"),
		Plural:           "validatingadmissionpolicies", Singular: "validatingadmissionpolicy",
		Categories: []string{"api-extensions"},
	},
	Order:  kind.Anywhere,
	Status: true,
	Default: func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
		fill.Unset(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
		defaultMatchResources(p.Spec.MatchConstraints)
	},
	Lifecycle: kind.Lifecycle[*admissionregistrationv1.ValidatingAdmissionPolicy]{
		Create: func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
			p.Status = admissionregistrationv1.ValidatingAdmissionPolicyStatus{}
		},
		Update: func(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) { p.Status = old.Status },
		UpdateStatus: func(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) {
			kind.KeepMeta(&p.ObjectMeta, &old.ObjectMeta)
			p.Spec = old.Spec
		},
		Changed: func(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) bool {
			return kind.Differ(p.Spec, old.Spec)
		},
	},
	REST: kind.REST{VersionRequired: true, StatusResets: []string{"metadata"}},
	Rules: kind.Rules[*admissionregistrationv1.ValidatingAdmissionPolicy]{
		Name:         apivalidation.NameIsDNSSubdomain,
		AnyFinalizer: true,
		Object: func(p *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
			return validateValidatingPolicy(p, nil)
		},
		Replaces: validateValidatingPolicy,
		Status: func(p, _ *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
			return validatePolicyStatus(&p.Status, field.NewPath("status"))
		},
	},
	Table: kind.Table[*admissionregistrationv1.ValidatingAdmissionPolicy]{
		Columns: column.Define("Name", "#Validations", "ParamKind", "Age"),
		Row: func(p *admissionregistrationv1.ValidatingAdmissionPolicy, now time.Time) []any {
			return []any{p.Name, int64(len(p.Spec.Validations)), kindCell(p.Spec.ParamKind), column.Age(p, now)}
		},
	},
	// It is in force as soon as it is stored. Its status only tells of doubts.
	Health: kind.Health[*admissionregistrationv1.ValidatingAdmissionPolicy]{
		Of: func(*admissionregistrationv1.ValidatingAdmissionPolicy, object.Reader) health.Result {
			return health.Result{Status: health.Current}
		},
	},
})

const (
	mostAuditAnnotations = 20
	longestAuditValue    = 5 * 1024
)

// validateValidatingPolicy judges a policy, which replaces old, or is new if that
// is nil.
func validateValidatingPolicy(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	spec, params := &p.Spec, p.Spec.ParamKind != nil
	errs := needed(spec.FailurePolicy, specPath.Child("failurePolicy"), admissionregistrationv1.Fail, admissionregistrationv1.Ignore)
	errs = append(errs, validateParamKind(spec.ParamKind, specPath.Child("paramKind"))...)
	errs = append(errs, validateConstraints(spec.MatchConstraints, specPath.Child("matchConstraints"))...)
	stored := expressions{}
	same := false
	if old != nil {
		stored = validatingExpressions(&old.Spec)
		same = reflect.DeepEqual(spec.ParamKind, old.Spec.ParamKind) && reflect.DeepEqual(spec.MatchConditions, old.Spec.MatchConditions)
	}
	if !same {
		errs = append(errs, validateConditions(spec.MatchConditions, params, stored, specPath.Child("matchConditions"))...)
	}
	c := stateless()
	if len(spec.Variables) > 0 {
		with, err := composed()
		if err != nil {
			return append(errs, errCompiler(err)...)
		}
		errs = append(errs, validateVariables(with, spec.Variables, params, stored, specPath.Child("variables"))...)
		c = with
	}
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		const none = "validations or auditAnnotations must contain at least one item"
		return append(errs, field.Required(specPath.Child("validations"), none), field.Required(specPath.Child("auditAnnotations"), none))
	}
	for i := range spec.Validations {
		errs = append(errs, validateValidation(c, &spec.Validations[i], params, stored, specPath.Child("validations").Index(i))...)
	}
	annotations := specPath.Child("auditAnnotations")
	if len(spec.AuditAnnotations) > mostAuditAnnotations {
		errs = append(errs, field.Invalid(annotations, spec.AuditAnnotations, fmt.Sprintf("must not have more than %d auditAnnotations", mostAuditAnnotations)))
	}
	keys := map[string]bool{}
	for i := range spec.AuditAnnotations {
		a := &spec.AuditAnnotations[i]
		errs = append(errs, validateAuditAnnotation(c, p.Name, a, params, stored, annotations.Index(i))...)
		errs = append(errs, rule.Unique(keys, a.Key, annotations.Index(i).Child("key"))...)
	}
	return errs
}

// validatingExpressions are those that a stored policy has.
func validatingExpressions(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) expressions {
	stored := expressions{}
	stored.conditions(spec.MatchConditions)
	for _, v := range spec.Variables {
		stored[v.Expression] = true
	}
	for _, v := range spec.Validations {
		stored[v.Expression], stored[v.MessageExpression] = true, true
	}
	for _, a := range spec.AuditAnnotations {
		stored[strings.TrimSpace(a.ValueExpression)] = true
	}
	return stored
}

func validateValidation(c plugincel.Compiler, v *admissionregistrationv1.Validation, params bool, stored expressions, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if at := path.Child("expression"); strings.TrimSpace(v.Expression) == "" {
		errs = append(errs, field.Required(at, "expression is not specified"))
	} else {
		errs = append(errs, compile(c, &validating.ValidationCondition{Expression: v.Expression},
			plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}, stored, at)...)
	}
	switch at := path.Child("messageExpression"); {
	case v.MessageExpression == "":
	case strings.TrimSpace(v.MessageExpression) == "":
		errs = append(errs, field.Invalid(at, v.MessageExpression, "must be non-empty if specified"))
	default:
		errs = append(errs, compile(c, &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression},
			plugincel.OptionalVariableDeclarations{HasParams: params}, stored, at)...)
	}
	switch trimmed := strings.TrimSpace(v.Message); {
	case v.Message != "" && trimmed == "":
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "message must be non-empty if specified"))
	case strings.ContainsAny(trimmed, "\n\r"):
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "message must not contain line breaks"))
	}
	return append(errs, supported(v.Reason, path.Child("reason"),
		metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)...)
}

func validateAuditAnnotation(c plugincel.Compiler, policy string, a *admissionregistrationv1.AuditAnnotation, params bool, stored expressions, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if policy == "" {
		errs = append(errs, field.Invalid(path.Child("key"), a.Key, "requires metadata.name be non-empty"))
	} else {
		key := policy + "/" + a.Key
		errs = append(errs, rule.Invalid(path.Child("key"), key, validation.IsQualifiedName(key))...)
	}
	at := path.Child("valueExpression")
	switch trimmed := strings.TrimSpace(a.ValueExpression); {
	case trimmed == "":
		return append(errs, field.Required(at, "valueExpression is not specified"))
	case len(trimmed) > longestAuditValue:
		return append(errs, field.Required(at, fmt.Sprintf("must not exceed %d bytes in length", longestAuditValue)))
	default:
		return append(errs, compile(c, &validating.AuditAnnotationCondition{ValueExpression: trimmed},
			plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}, stored, at)...)
	}
}

func validatePolicyStatus(s *admissionregistrationv1.ValidatingAdmissionPolicyStatus, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.TypeChecking != nil {
		for i, w := range s.TypeChecking.ExpressionWarnings {
			at := path.Child("typeChecking", "expressionWarnings").Index(i)
			if w.Warning == "" {
				errs = append(errs, field.Required(at.Child("warning"), ""))
			}
			ref := strings.TrimSpace(w.FieldRef)
			if ref == "" {
				errs = append(errs, field.Required(at.Child("fieldRef"), ""))
			} else if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
				errs = append(errs, field.Invalid(at.Child("fieldRef"), ref, fmt.Sprintf("invalid JSONPath: %v", err)))
			}
		}
	}
	return append(errs, metavalidation.ValidateConditions(s.Conditions, path.Child("conditions"))...)
}
