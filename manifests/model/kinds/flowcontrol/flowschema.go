package flowcontrol

import (
	"cmp"
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

// defaultPrecedence is the place of a schema that names none.
const defaultPrecedence = 1000

// flowSchema determines the priority level of requests, and which of them share
// a queue there; engine/api/fairness enforces it.
// https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
var flowSchema = kind.Define[flowcontrolv1.FlowSchema, flowcontrolv1.FlowSchemaList](kind.Definition[*flowcontrolv1.FlowSchema]{
	Names: kind.Names{
		GroupVersionKind: flowcontrolv1.SchemeGroupVersion.WithKind("FlowSchema"),
		Plural:           "flowschemas", Singular: "flowschema",
	},
	Order:  kind.Anywhere,
	Status: true,
	REST:   kind.REST{StatusResets: []string{"metadata"}},
	Default: func(s *flowcontrolv1.FlowSchema) {
		if s.Spec.MatchingPrecedence == 0 {
			s.Spec.MatchingPrecedence = defaultPrecedence
		}
	},
	Lifecycle: lifecycle(func(s *flowcontrolv1.FlowSchema) parts[flowcontrolv1.FlowSchemaSpec, flowcontrolv1.FlowSchemaStatus] {
		return parts[flowcontrolv1.FlowSchemaSpec, flowcontrolv1.FlowSchemaStatus]{&s.ObjectMeta, &s.Spec, &s.Status}
	}),
	Rules: kind.Rules[*flowcontrolv1.FlowSchema]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateFlowSchema,
		Status: func(s, _ *flowcontrolv1.FlowSchema) field.ErrorList { return validateFlowSchemaConditions(s) },
	},
	Table: kind.Table[*flowcontrolv1.FlowSchema]{
		Columns: column.Define("Name", "PriorityLevel", "MatchingPrecedence", "DistinguisherMethod", "Age", "MissingPL"),
		Row:     flowSchemaRow,
		// The order in which they are asked.
		Compare: func(a, b *flowcontrolv1.FlowSchema) int {
			return cmp.Or(cmp.Compare(a.Spec.MatchingPrecedence, b.Spec.MatchingPrecedence), cmp.Compare(a.Name, b.Name))
		},
	},
	Health: current[*flowcontrolv1.FlowSchema](),
})

func flowSchemaRow(s *flowcontrolv1.FlowSchema, now time.Time) []any {
	method, missing := column.None, "?"
	if m := s.Spec.DistinguisherMethod; m != nil {
		method = string(m.Type)
	}
	for _, c := range s.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			missing = string(c.Status)
			break
		}
	}
	return []any{s.Name, s.Spec.PriorityLevelConfiguration.Name, int64(s.Spec.MatchingPrecedence), method, column.Age(s, now), missing}
}

func validateFlowSchema(s *flowcontrolv1.FlowSchema) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	precedence := rule.Spec.Child("matchingPrecedence")
	if spec.MatchingPrecedence <= 0 {
		errs = append(errs, field.Invalid(precedence, spec.MatchingPrecedence, "must be a positive value"))
	}
	if most := flowcontrolv1.FlowSchemaMaxMatchingPrecedence; spec.MatchingPrecedence > most {
		errs = append(errs, field.Invalid(precedence, spec.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", most)))
	}
	if spec.MatchingPrecedence == 1 && s.Name != flowcontrolv1.FlowSchemaNameExempt {
		errs = append(errs, field.Invalid(precedence, spec.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if m := spec.DistinguisherMethod; m != nil {
		errs = append(errs, rule.OneOf(m.Type, rule.Spec.Child("distinguisherMethod", "type"),
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)...)
	}
	level := rule.Spec.Child("priorityLevelConfiguration", "name")
	if name := spec.PriorityLevelConfiguration.Name; name == "" {
		errs = append(errs, field.Required(level, "must reference a priority level"))
	} else {
		errs = append(errs, rule.Invalid(level, name, apivalidation.NameIsDNSSubdomain(name, false))...)
	}
	for i := range spec.Rules {
		errs = append(errs, validateRule(&spec.Rules[i], rule.Spec.Child("rules").Index(i))...)
	}
	for _, fixed := range bootstrap.MandatoryFlowSchemas {
		if fixed.Name == s.Name && !equality.Semantic.DeepEqual(*spec, fixed.Spec) {
			errs = append(errs, field.Invalid(rule.Spec, *spec, fmt.Sprintf("spec of '%s' must equal the fixed value", s.Name)))
		}
	}
	return append(errs, validateFlowSchemaConditions(s)...)
}

func validateFlowSchemaConditions(s *flowcontrolv1.FlowSchema) field.ErrorList {
	types := make([]string, len(s.Status.Conditions))
	for i, c := range s.Status.Conditions {
		types[i] = string(c.Type)
	}
	return validateConditionTypes(types)
}
