package configured

import (
	"context"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"

	chain "headway.dev/engine/admission"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// bound are the policies of one of the two kinds that have bindings, in one state.
type bound[P, B runtime.Object, E generic.Evaluator] struct {
	targets
	hooks []generic.PolicyHook[P, B, E]
	// params are the kinds of the parameters of hooks; nil: they have none.
	params []*admissionregistrationv1.ParamKind
}

// policies is what both plugins of policies have in common.
type policies[P, B object.Object, E generic.Evaluator] struct {
	state[bound[P, B, E]]
	cfg Config
	// compiled are the policies of the last state, which are not compiled again.
	compiled map[object.Object]E
}

// Wants implements chain.Selective.
func (p *policies[P, B, E]) Wants(resource schema.GroupResource, subresource string) bool {
	return !slices.Contains(reviews, resource) && wanted(p.get().targets, resource, subresource)
}

// in returns the policies as they are for what comes upon the view of ctx, and how
// they find what they match.
func (p *policies[P, B, E]) in(ctx context.Context) ([]generic.PolicyHook[P, B, E], *matching.Matcher) {
	view := chain.View(ctx, p.cfg.Stored)
	b := p.get()
	hooks := slices.Clone(b.hooks)
	for i, kind := range b.params {
		if kind == nil {
			continue
		}
		// Kinds of custom resources come and go.
		var of params
		of, hooks[i].ConfigurationError = p.cfg.paramsOf(ctx, kind, view)
		if hooks[i].ConfigurationError == nil {
			hooks[i].ParamScope, hooks[i].ParamInformer = of.scope(), of
		}
	}
	return hooks, matching.NewMatcher(viewed{view: view}, noClient{})
}

// bind joins policies with their bindings. compiled are those of the last state.
func (p *policies[P, B, E]) bind(all []P, bindings []B, spec func(P) (*admissionregistrationv1.MatchResources, *admissionregistrationv1.ParamKind),
	policyOf func(B) string, compile func(P) E,
) (b bound[P, B, E]) {
	compiled := make(map[object.Object]E, len(all))
	for _, policy := range all {
		mine := slices.DeleteFunc(slices.Clone(bindings), func(binding B) bool { return policyOf(binding) != policy.GetName() })
		if len(mine) == 0 {
			continue
		}
		evaluator, ok := p.compiled[policy]
		if !ok {
			evaluator = compile(policy)
		}
		compiled[policy] = evaluator
		hook := generic.PolicyHook[P, B, E]{Policy: policy, Bindings: mine, Evaluator: evaluator}
		constraints, kind := spec(policy)
		b.hooks, b.params = append(b.hooks, hook), append(b.params, kind)
		if constraints != nil {
			for _, r := range constraints.ResourceRules {
				b.targets = append(b.targets, r.Rule)
			}
		}
	}
	p.compiled = compiled
	return b
}

type (
	validatingPolicy  = *admissionregistrationv1.ValidatingAdmissionPolicy
	validatingBinding = *admissionregistrationv1.ValidatingAdmissionPolicyBinding
	mutatingPolicy    = *admissionregistrationv1.MutatingAdmissionPolicy
	mutatingBinding   = *admissionregistrationv1.MutatingAdmissionPolicyBinding
)

// validatingPolicies is ValidatingAdmissionPolicy.
type validatingPolicies struct {
	policies[validatingPolicy, validatingBinding, validating.PolicyEvaluator]
}

// Handles implements admission.Interface.
func (*validatingPolicies) Handles(admission.Operation) bool { return true }

// Validate implements admission.ValidationInterface.
func (p *validatingPolicies) Validate(ctx context.Context, attrs admission.Attributes, o admission.ObjectInterfaces) error {
	hooks, matcher := p.in(ctx)
	if len(hooks) == 0 {
		return nil
	}
	return validating.NewDispatcher(p.cfg.Authorizer, generic.NewPolicyMatcher(matcher)).Dispatch(ctx, attrs, chain.Interfaces(attrs, o), hooks)
}

func newValidatingPolicies(cfg Config) *validatingPolicies {
	p := &validatingPolicies{}
	p.cfg, p.configurations, p.kinds = cfg, cfg.Configurations, []schema.GroupKind{validatingPolicyKind, validatingBindingKind}
	p.make = func(c snapshot) bound[validatingPolicy, validatingBinding, validating.PolicyEvaluator] {
		return p.bind(list[validatingPolicy](c, validatingPolicyKind), list[validatingBinding](c, validatingBindingKind),
			func(p validatingPolicy) (*admissionregistrationv1.MatchResources, *admissionregistrationv1.ParamKind) {
				return p.Spec.MatchConstraints, p.Spec.ParamKind
			},
			func(b validatingBinding) string { return b.Spec.PolicyName }, compileValidating)
	}
	return p
}

// mutatingPolicies is MutatingAdmissionPolicy.
type mutatingPolicies struct {
	policies[mutatingPolicy, mutatingBinding, mutating.PolicyEvaluator]
}

// Handles implements admission.Interface. What is deleted cannot be changed.
func (*mutatingPolicies) Handles(op admission.Operation) bool { return op != admission.Delete }

// Admit implements admission.MutationInterface.
func (p *mutatingPolicies) Admit(ctx context.Context, attrs admission.Attributes, o admission.ObjectInterfaces) error {
	hooks, matcher := p.in(ctx)
	if len(hooks) == 0 {
		return nil
	}
	return mutating.NewDispatcher(p.cfg.Authorizer, matcher, types{p.cfg.Types}).Dispatch(ctx, attrs, chain.Interfaces(attrs, o), hooks)
}

func newMutatingPolicies(cfg Config) *mutatingPolicies {
	p := &mutatingPolicies{}
	p.cfg, p.configurations, p.kinds = cfg, cfg.Configurations, []schema.GroupKind{mutatingPolicyKind, mutatingBindingKind}
	p.make = func(c snapshot) bound[mutatingPolicy, mutatingBinding, mutating.PolicyEvaluator] {
		return p.bind(list[mutatingPolicy](c, mutatingPolicyKind), list[mutatingBinding](c, mutatingBindingKind),
			func(p mutatingPolicy) (*admissionregistrationv1.MatchResources, *admissionregistrationv1.ParamKind) {
				return p.Spec.MatchConstraints, p.Spec.ParamKind
			},
			func(b mutatingBinding) string { return b.Spec.PolicyName }, compileMutating)
	}
	return p
}

// types implements patch.TypeConverterManager: it knows how the fields of a kind
// are merged.
type types struct{ managedfields.TypeConverter }

// GetTypeConverter implements patch.TypeConverterManager. Kinds without a schema
// merge maps by key, and lists as a whole.
func (t types) GetTypeConverter(gvk schema.GroupVersionKind) managedfields.TypeConverter {
	if t.TypeConverter == nil || !scheme.Scheme.Recognizes(gvk) {
		return managedfields.NewDeducedTypeConverter()
	}
	return t.TypeConverter
}

// Run implements patch.TypeConverterManager.
func (types) Run(context.Context) {}
