package validation_test

import (
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const baseWebhooks = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: w}
webhooks:
- name: a.b.example
  clientConfig: {url: "https://hook.example/mutate"}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
  sideEffects: None
  admissionReviewVersions: [v1]
`

func mutatingWebhookCases(t *testing.T) {
	t.Helper()
	type config = *admissionregistrationv1.MutatingWebhookConfiguration
	service := func(s admissionregistrationv1.ServiceReference) func(config) {
		return func(c config) {
			c.Webhooks[0].ClientConfig = admissionregistrationv1.WebhookClientConfig{Service: &s}
		}
	}
	rules := func(edit func(*admissionregistrationv1.RuleWithOperations)) func(config) {
		return func(c config) { edit(&c.Webhooks[0].Rules[0]) }
	}
	condition := func(name, expression string) func(config) {
		return func(c config) {
			c.Webhooks[0].MatchConditions = []admissionregistrationv1.MatchCondition{{Name: name, Expression: expression}}
		}
	}
	create(t, baseWebhooks, cases[config]{
		"name":         {func(c config) { c.Webhooks[0].Name = "a" }, []string{`webhooks[0].name: Invalid value: "a": should be a domain with at least three segments separated by dots`}},
		"twice":        {func(c config) { c.Webhooks = append(c.Webhooks, c.Webhooks[0]) }, []string{`webhooks[1].name: Duplicate value: "a.b.example"`}},
		"no effects":   {func(c config) { c.Webhooks[0].SideEffects = nil }, []string{"webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"}},
		"side effects": {func(c config) { *c.Webhooks[0].SideEffects = "Some" }, []string{`webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`}},
		"timeout":      {func(c config) { *c.Webhooks[0].TimeoutSeconds = 31 }, []string{"webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"}},
		"no version":   {func(c config) { c.Webhooks[0].AdmissionReviewVersions = nil }, []string{"webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"}},
		"unknown version": {
			func(c config) { c.Webhooks[0].AdmissionReviewVersions = []string{"v2"} },
			[]string{`webhooks[0].admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1`},
		},
		"reinvocation": {func(c config) { *c.Webhooks[0].ReinvocationPolicy = "Always" }, []string{`webhooks[0].reinvocationPolicy: Unsupported value: "Always": supported values: "IfNeeded", "Never"`}},
		"no target":    {func(c config) { c.Webhooks[0].ClientConfig.URL = nil }, []string{"webhooks[0].clientConfig: Required value: exactly one of url or service is required"}},
		"plain HTTP": {
			func(c config) { *c.Webhooks[0].ClientConfig.URL = "http://a" },
			[]string{`webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]`},
		},
		"service":      {service(admissionregistrationv1.ServiceReference{Namespace: "n", Name: "s", Path: new("/a"), Port: new(int32(443))}), nil},
		"service path": {service(admissionregistrationv1.ServiceReference{Namespace: "n", Name: "s", Path: new("a"), Port: new(int32(443))}), []string{`webhooks[0].clientConfig.service.path: Invalid value: "a": must start with a '/'`, `webhooks[0].clientConfig.service.path: Invalid value: "a": segment[0] may not be empty`}},
		"operation": {
			rules(func(r *admissionregistrationv1.RuleWithOperations) { r.Operations[0] = "READ" }),
			[]string{`webhooks[0].rules[0].operations[0]: Unsupported value: "READ": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"`},
		},
		"all groups": {
			rules(func(r *admissionregistrationv1.RuleWithOperations) { r.APIGroups = []string{"*", "apps"} }),
			[]string{`webhooks[0].rules[0].apiGroups: Invalid value: ["*","apps"]: if '*' is present, must not specify other API groups`},
		},
		"subresources": {
			rules(func(r *admissionregistrationv1.RuleWithOperations) { r.Resources = []string{"pods/*", "pods/status"} }),
			[]string{`webhooks[0].rules[0].resources[1]: Invalid value: "pods/status": if 'pods/*' is present, must not specify pods/status`},
		},
		"everything twice": {
			rules(func(r *admissionregistrationv1.RuleWithOperations) { r.Resources = []string{"*", "pods"} }),
			[]string{`webhooks[0].rules[0].resources: Invalid value: ["*","pods"]: if '*' is present, must not specify other resources without subresources`},
		},
		"condition":                 {condition("not-a-lease", "request.resource.resource != 'leases'"), nil},
		"condition of another type": {condition("c", "'x'"), []string{`webhooks[0].matchConditions[0].expression: Invalid value: "'x'": must evaluate to bool but got string`}},
		"condition without a name":  {condition("", "true"), []string{"webhooks[0].matchConditions[0].name: Required value"}},
	})
	update(t, baseWebhooks, cases[config]{
		"side effects that come later": {func(c config) { *c.Webhooks[0].SideEffects = "Some" }, []string{`webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`}},
	})
}

const basePolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: p}
spec:
  matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [apps], apiVersions: [v1], resources: [deployments]}]}
  variables: [{name: replicas, expression: object.spec.replicas}]
  validations: [{expression: variables.replicas <= 5}]
`

func validatingPolicyCases(t *testing.T) {
	t.Helper()
	type policy = *admissionregistrationv1.ValidatingAdmissionPolicy
	create(t, basePolicy, cases[policy]{
		"nothing":            {func(p policy) { p.Spec.Validations = nil }, []string{"spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item", "spec.validations: Required value: validations or auditAnnotations must contain at least one item"}},
		"no constraint":      {func(p policy) { p.Spec.MatchConstraints = nil }, []string{"spec.matchConstraints: Required value"}},
		"no rule":            {func(p policy) { p.Spec.MatchConstraints.ResourceRules = nil }, []string{"spec.matchConstraints.resourceRules: Required value"}},
		"variable":           {func(p policy) { p.Spec.Variables[0].Name = "in" }, []string{`spec.variables[0].name: Invalid value: "in": name is not a valid CEL identifier`, "spec.validations[0].expression: Invalid value: \"variables.replicas <= 5\": compilation failed: ERROR: <input>:1:10: undefined field 'replicas'\n | variables.replicas <= 5\n | .........^"}},
		"no expression":      {func(p policy) { p.Spec.Validations[0].Expression = " " }, []string{"spec.validations[0].expression: Required value: expression is not specified"}},
		"message":            {func(p policy) { p.Spec.Validations[0].Message = "a\nb" }, []string{`spec.validations[0].message: Invalid value: "a\nb": message must not contain line breaks`}},
		"reason":             {func(p policy) { p.Spec.Validations[0].Reason = new(metav1.StatusReason("Gone")) }, []string{`spec.validations[0].reason: Unsupported value: "Gone": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"`}},
		"kind of parameters": {func(p policy) { p.Spec.ParamKind = &admissionregistrationv1.ParamKind{APIVersion: "v1"} }, []string{"spec.paramKind.kind: Required value"}},
	})
	update(t, basePolicy, cases[policy]{
		"message": {func(p policy) { p.Spec.Validations[0].Message = "at most 5" }, nil},
		"reason":  {func(p policy) { p.Spec.Validations[0].Reason = new(metav1.StatusReason("Gone")) }, []string{`spec.validations[0].reason: Unsupported value: "Gone": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"`}},
	})
	warn := func(at, text string) func(policy) {
		return func(p policy) {
			p.Status.TypeChecking = &admissionregistrationv1.TypeChecking{ExpressionWarnings: []admissionregistrationv1.ExpressionWarning{{FieldRef: at, Warning: text}}}
		}
	}
	updateStatus(t, basePolicy, cases[policy]{
		"warning":    {warn("spec.validations[0].expression", "x"), nil},
		"no warning": {warn("spec.validations[0].expression", ""), []string{"status.typeChecking.expressionWarnings[0].warning: Required value"}},
		"nowhere":    {warn(" ", "x"), []string{"status.typeChecking.expressionWarnings[0].fieldRef: Required value"}},
	})
}

func mutatingPolicyCases(t *testing.T) {
	t.Helper()
	type policy = *admissionregistrationv1.MutatingAdmissionPolicy
	const base = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: p}
spec:
  reinvocationPolicy: Never
  matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [apps], apiVersions: [v1], resources: [deployments]}]}
  mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{metadata: Object.metadata{labels: {'a': 'b'}}}"}}]
`
	create(t, base, cases[policy]{
		"nothing":      {func(p policy) { p.Spec.Mutations = nil }, []string{"spec.mutations: Required value: mutations must contain at least one item"}},
		"reinvocation": {func(p policy) { p.Spec.ReinvocationPolicy = "" }, []string{"spec.reinvocationPolicy: Required value"}},
		"patch type":   {func(p policy) { p.Spec.Mutations[0].PatchType = "Merge" }, []string{`spec.mutations[0].patchType: Unsupported value: "Merge": supported values: "ApplyConfiguration", "JSONPatch"`}},
		"other patch": {func(p policy) { p.Spec.Mutations[0].PatchType = "JSONPatch" }, []string{
			"spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
			`spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch`,
		}},
		"deletions": {func(p policy) { p.Spec.MatchConstraints.ResourceRules[0].Operations[0] = "DELETE" }, []string{`spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"`}},
	})
	update(t, base, cases[policy]{
		"reinvocation": {func(p policy) { p.Spec.ReinvocationPolicy = "IfNeeded" }, nil},
		"nothing":      {func(p policy) { p.Spec.Mutations = nil }, []string{"spec.mutations: Required value: mutations must contain at least one item"}},
	})
}

func validatingBindingCases(t *testing.T) {
	t.Helper()
	type binding = *admissionregistrationv1.ValidatingAdmissionPolicyBinding
	const base = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: b}
spec: {policyName: p, validationActions: [Deny], paramRef: {name: a, parameterNotFoundAction: Deny}}
`
	create(t, base, cases[binding]{
		"no policy":  {func(b binding) { b.Spec.PolicyName = "" }, []string{"spec.policyName: Required value"}},
		"no action":  {func(b binding) { b.Spec.ValidationActions = nil }, []string{"spec.validationActions: Required value: at least one validation action is required"}},
		"both":       {func(b binding) { b.Spec.ValidationActions = append(b.Spec.ValidationActions, "Warn") }, []string{`spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)`}},
		"no param":   {func(b binding) { b.Spec.ParamRef.Name = "" }, []string{"spec.paramRef: Required value: one of name or selector must be specified"}},
		"not found?": {func(b binding) { b.Spec.ParamRef.ParameterNotFoundAction = nil }, []string{"spec.paramRef.parameterNotFoundAction: Required value"}},
		"two params": {func(b binding) { b.Spec.ParamRef.Selector = &metav1.LabelSelector{} }, []string{
			"spec.paramRef.name: Forbidden: name and selector are mutually exclusive", "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
		}},
	})
	update(t, base, cases[binding]{
		"another policy": {func(b binding) { b.Spec.PolicyName = "q" }, nil},
		"no action":      {func(b binding) { b.Spec.ValidationActions = nil }, []string{"spec.validationActions: Required value: at least one validation action is required"}},
	})
}

func validatingWebhookCases(t *testing.T) {
	t.Helper()
	type config = *admissionregistrationv1.ValidatingWebhookConfiguration
	base := strings.ReplaceAll(baseWebhooks, "Mutating", "Validating")
	table := cases[config]{
		"name":         {func(c config) { c.Webhooks[0].Name = "a" }, []string{`webhooks[0].name: Invalid value: "a": should be a domain with at least three segments separated by dots`}},
		"twice":        {func(c config) { c.Webhooks = append(c.Webhooks, c.Webhooks[0]) }, []string{`webhooks[1].name: Duplicate value: "a.b.example"`}},
		"side effects": {func(c config) { *c.Webhooks[0].SideEffects = "Unknown" }, []string{`webhooks[0].sideEffects: Unsupported value: "Unknown": supported values: "None", "NoneOnDryRun"`}},
		"failure":      {func(c config) { *c.Webhooks[0].FailurePolicy = "Panic" }, []string{`webhooks[0].failurePolicy: Unsupported value: "Panic": supported values: "Fail", "Ignore"`}},
		"match":        {func(c config) { *c.Webhooks[0].MatchPolicy = "Some" }, []string{`webhooks[0].matchPolicy: Unsupported value: "Some": supported values: "Equivalent", "Exact"`}},
		"timeout":      {func(c config) { *c.Webhooks[0].TimeoutSeconds = 0 }, []string{"webhooks[0].timeoutSeconds: Invalid value: 0: the timeout value must be between 1 and 30 seconds"}},
		"no group":     {func(c config) { c.Webhooks[0].Rules[0].APIGroups = nil }, []string{"webhooks[0].rules[0].apiGroups: Required value"}},
		"scope": {func(c config) { c.Webhooks[0].Rules[0].Scope = new(admissionregistrationv1.ScopeType("Town")) }, []string{
			`webhooks[0].rules[0].scope: Unsupported value: "Town": supported values: "*", "Cluster", "Namespaced"`,
		}},
		"selector": {func(c config) {
			c.Webhooks[0].ObjectSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "In"}}}
		}, []string{"webhooks[0].objectSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"}},
	}
	create(t, base, table)
	update(t, base, table)
}

func mutatingBindingCases(t *testing.T) {
	t.Helper()
	type binding = *admissionregistrationv1.MutatingAdmissionPolicyBinding
	const base = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: b}
spec: {policyName: p, paramRef: {name: a, parameterNotFoundAction: Deny}, matchResources: {resourceRules: [{operations: [CREATE], apiGroups: [apps], apiVersions: [v1], resources: [deployments]}]}}
`
	table := cases[binding]{
		"no policy":  {func(b binding) { b.Spec.PolicyName = "" }, []string{"spec.policyName: Required value"}},
		"no param":   {func(b binding) { b.Spec.ParamRef.Name = "" }, []string{"spec.paramRef: Required value: one of name or selector must be specified"}},
		"not found?": {func(b binding) { *b.Spec.ParamRef.ParameterNotFoundAction = "Cry" }, []string{`spec.paramRef.parameterNotFoundAction: Unsupported value: "Cry": supported values: "Allow", "Deny"`}},
		"deletions":  {func(b binding) { b.Spec.MatchResources.ResourceRules[0].Operations[0] = "DELETE" }, []string{`spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"`}},
	}
	create(t, base, table)
	update(t, base, table)
}
