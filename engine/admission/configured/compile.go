package configured

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
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
