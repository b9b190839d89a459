package admissionregistration

import (
	"reflect"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"

	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/rule"
)

const (
	// defaultTimeout and the longest are in seconds.
	defaultTimeout = int32(10)
	longestTimeout = 30
	// defaultPort is that of a webhook's Service.
	defaultPort = int32(443)
)

// reviewVersions are the versions of AdmissionReview that the API server speaks.
var reviewVersions = []string{"v1", "v1beta1"}

// hook is what a validating and a mutating webhook have in common.
type hook struct {
	name              string
	client            admissionregistrationv1.WebhookClientConfig
	rules             []admissionregistrationv1.RuleWithOperations
	failure           *admissionregistrationv1.FailurePolicyType
	match             *admissionregistrationv1.MatchPolicyType
	namespace, object *metav1.LabelSelector
	sideEffects       *admissionregistrationv1.SideEffectClass
	timeout           *int32
	versions          []string
	reinvocation      *admissionregistrationv1.ReinvocationPolicyType // nil for validating ones
	conditions        []admissionregistrationv1.MatchCondition
}

func defaultTarget(c *admissionregistrationv1.WebhookClientConfig, rules []admissionregistrationv1.RuleWithOperations) {
	if c.Service != nil {
		fill.Unset(&c.Service.Port, defaultPort)
	}
	for i := range rules {
		defaultRule(&rules[i].Rule)
	}
}

// validateWebhooks judges webhooks, which replace old; what was wrong there
// already may stay so, as in Kubernetes.
func validateWebhooks(hooks, old []hook) field.ErrorList {
	was := func(wrong func(hook) bool) bool { return slices.ContainsFunc(old, wrong) }
	hadEffects := was(func(h hook) bool { return h.sideEffects == nil || !harmless(*h.sideEffects) })
	unknownVersions := was(func(h hook) bool { return len(h.versions) > 0 && !recognized(h.versions) })
	twice := was(func(h hook) bool {
		return len(slices.DeleteFunc(slices.Clone(old), func(o hook) bool { return o.name != h.name })) > 1
	})
	selectors := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: was(func(h hook) bool {
		strict := metavalidation.LabelSelectorValidationOptions{}
		return len(validateSelector(h.namespace, strict, nil)) > 0 || len(validateSelector(h.object, strict, nil)) > 0
	})}
	sameConditions := len(old) > 0 && slices.EqualFunc(hooks, old, func(a, b hook) bool { return reflect.DeepEqual(a.conditions, b.conditions) })
	stored := expressions{}
	for _, h := range old {
		stored.conditions(h.conditions)
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i, h := range hooks {
		at := webhooksPath.Index(i)
		errs = append(errs, h.validate(at, hadEffects, selectors)...)
		if !sameConditions {
			errs = append(errs, validateConditions(h.conditions, false, stored, at.Child("matchConditions"))...)
		}
		errs = append(errs, validateVersions(h.versions, !unknownVersions, at.Child("admissionReviewVersions"))...)
		if !twice && h.name != "" {
			errs = append(errs, rule.Unique(names, h.name, at.Child("name"))...)
		}
	}
	return errs
}

func (h hook) validate(at *field.Path, anyEffects bool, selectors metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	errs := validation.IsFullyQualifiedName(at.Child("name"), h.name)
	errs = append(errs, validateRules(h.rules, at.Child("rules"))...)
	errs = append(errs, supported(h.failure, at.Child("failurePolicy"), admissionregistrationv1.Fail, admissionregistrationv1.Ignore)...)
	errs = append(errs, supported(h.match, at.Child("matchPolicy"), admissionregistrationv1.Equivalent, admissionregistrationv1.Exact)...)
	effects := []admissionregistrationv1.SideEffectClass{admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun}
	if anyEffects {
		effects = append(effects, admissionregistrationv1.SideEffectClassSome, admissionregistrationv1.SideEffectClassUnknown)
	}
	if h.sideEffects == nil {
		errs = append(errs, field.Required(at.Child("sideEffects"), "must specify one of "+joined(effects)))
	}
	errs = append(errs, supported(h.sideEffects, at.Child("sideEffects"), effects...)...)
	if h.timeout != nil && (*h.timeout < 1 || *h.timeout > longestTimeout) {
		errs = append(errs, field.Invalid(at.Child("timeoutSeconds"), *h.timeout, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, validateSelector(h.namespace, selectors, at.Child("namespaceSelector"))...)
	errs = append(errs, validateSelector(h.object, selectors, at.Child("objectSelector"))...)
	errs = append(errs, supported(h.reinvocation, at.Child("reinvocationPolicy"),
		admissionregistrationv1.IfNeededReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)...)
	return append(errs, validateClient(h.client, at.Child("clientConfig"))...)
}

func validateClient(c admissionregistrationv1.WebhookClientConfig, at *field.Path) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(at, "exactly one of url or service is required")}
	case c.URL != nil:
		return webhook.ValidateWebhookURL(at.Child("url"), *c.URL, true)
	}
	port := defaultPort
	if c.Service.Port != nil {
		port = *c.Service.Port
	}
	return webhook.ValidateWebhookService(at.Child("service"), c.Service.Namespace, c.Service.Name, c.Service.Path, port)
}

func validateVersions(versions []string, recognizedOne bool, at *field.Path) field.ErrorList {
	if len(versions) == 0 {
		return field.ErrorList{field.Required(at, "must specify one of "+strings.Join(reviewVersions, ", "))}
	}
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, v := range versions {
		if seen[v] {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		seen[v] = true
		errs = append(errs, rule.Invalid(at.Index(i), v, validation.IsDNS1035Label(v))...)
	}
	if recognizedOne && !recognized(versions) {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of "+strings.Join(reviewVersions, ", ")))
	}
	return errs
}

func recognized(versions []string) bool {
	return slices.ContainsFunc(versions, func(v string) bool { return slices.Contains(reviewVersions, v) })
}

// harmless reports whether a webhook has no effects that a dry run would cause.
func harmless(c admissionregistrationv1.SideEffectClass) bool {
	return c == admissionregistrationv1.SideEffectClassNone || c == admissionregistrationv1.SideEffectClassNoneOnDryRun
}

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return strings.Join(words, ", ")
}
