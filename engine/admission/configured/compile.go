package configured

import (
	"cmp"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// compiler returns one that knows a policy's variables.
func compiler(variables []admissionregistrationv1.Variable, options cel.OptionalVariableDeclarations) (*cel.CompositedCompiler, error) {
	c, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	named := make([]cel.NamedExpressionAccessor, len(variables))
	for i, v := range variables {
		named[i] = &validating.Variable{Name: v.Name, Expression: v.Expression}
	}
	c.CompileAndStoreVariables(named, options, environment.StoredExpressions)
	return c, nil
}

// conditions compiles the match conditions of a policy, nil if it has none. plugin
// and policy are for the metrics.
func conditions(c *cel.CompositedCompiler, list []admissionregistrationv1.MatchCondition, options cel.OptionalVariableDeclarations,
	failure *admissionregistrationv1.FailurePolicyType, policy string,
) matchconditions.Matcher {
	if len(list) == 0 {
		return nil
	}
	accessors := make([]cel.ExpressionAccessor, len(list))
	for i := range list {
		accessors[i] = (*matchconditions.MatchCondition)(&list[i])
	}
	return matchconditions.NewMatcher(c.CompileCondition(accessors, options, environment.StoredExpressions), failure, "policy", "validate", policy)
}

// compileValidating compiles a policy. What does not compile is told when the
// policy is asked, and its failurePolicy decides.
func compileValidating(p *admissionregistrationv1.ValidatingAdmissionPolicy) validating.PolicyEvaluator {
	spec := &p.Spec
	options := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	c, err := compiler(spec.Variables, options)
	if err != nil {
		return validating.NewValidator(nil, nil, nil, nil, spec.FailurePolicy, err)
	}
	validations, messages := make([]cel.ExpressionAccessor, len(spec.Validations)), make([]cel.ExpressionAccessor, len(spec.Validations))
	for i, v := range spec.Validations {
		validations[i] = &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason}
		if v.MessageExpression != "" {
			messages[i] = &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
		}
	}
	annotations := make([]cel.ExpressionAccessor, len(spec.AuditAnnotations))
	for i, a := range spec.AuditAnnotations {
		annotations[i] = &validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression}
	}
	return validating.NewValidator(
		c.CompileCondition(validations, options, environment.StoredExpressions),
		conditions(c, spec.MatchConditions, options, spec.FailurePolicy, p.Name),
		c.CompileCondition(annotations, options, environment.StoredExpressions),
		c.CompileCondition(messages, cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil}, environment.StoredExpressions),
		spec.FailurePolicy, nil)
}

// compileMutating compiles a policy, like compileValidating.
func compileMutating(p *admissionregistrationv1.MutatingAdmissionPolicy) mutating.PolicyEvaluator {
	spec := &p.Spec
	options := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	c, err := compiler(spec.Variables, options)
	if err != nil {
		return mutating.PolicyEvaluator{Error: err}
	}
	e := mutating.PolicyEvaluator{Matcher: conditions(c, spec.MatchConditions, options, spec.FailurePolicy, p.Name), CompositedCompiler: c}
	options.HasPatchTypes = true
	for _, m := range spec.Mutations {
		switch {
		case m.PatchType == admissionregistrationv1.PatchTypeJSONPatch && m.JSONPatch != nil:
			compiled := c.CompileMutatingEvaluator(&patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, options, environment.StoredExpressions)
			e.Mutators = append(e.Mutators, patch.NewJSONPatcher(compiled))
		case m.PatchType == admissionregistrationv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			compiled := c.CompileMutatingEvaluator(&patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}, options, environment.StoredExpressions)
			e.Mutators = append(e.Mutators, patch.NewApplyConfigurationPatcher(compiled))
		}
	}
	return e
}

// CheckTypes returns what is wrong about the expressions of a policy by the schemas of
// the kinds that it matches and of its parameters, in Kubernetes' words. stored has the
// definitions of custom resources.
func CheckTypes(policy *admissionregistrationv1.ValidatingAdmissionPolicy, stored object.Reader, schemas resolver.SchemaResolver) []admissionregistrationv1.ExpressionWarning {
	checker := validating.TypeChecker{SchemaResolver: schemas, RestMapper: mapper(stored)}
	return checker.Check(policy)
}

// mapper finds the kinds of resources: Headway's own, and those that are defined,
// whether they are served already or not.
func mapper(stored object.Reader) meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	add := func(gvk schema.GroupVersionKind, plural, singular string) {
		resource := func(name string) schema.GroupVersionResource { return gvk.GroupVersion().WithResource(name) }
		m.AddSpecific(gvk, resource(plural), resource(cmp.Or(singular, strings.ToLower(gvk.Kind))), meta.RESTScopeRoot) // nobody asks for the scope
	}
	for _, k := range scheme.Kinds() {
		add(k.GroupVersionKind, k.Plural, k.Singular)
	}
	for _, o := range scheme.Older() {
		add(o.GroupVersionKind, o.Plural, o.Singular)
	}
	for _, v := range scheme.Views() {
		add(v.GroupVersionKind, v.Plural, v.Singular)
	}
	definitions, _ := object.Heads(stored, scheme.Definition)
	for _, obj := range definitions {
		crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if names := crd.Spec.Names; v.Served {
				add(schema.GroupVersionKind{Group: crd.Spec.Group, Version: v.Name, Kind: names.Kind}, names.Plural, names.Singular)
			}
		}
	}
	return m
}
