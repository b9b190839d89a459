package policy

import (
	"slices"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

// podDisruptionBudget bounds how many of the pods that it selects may be evicted at
// a time. engine/controllers/disruption says in its status how many those are, and
// pods/eviction (engine/api/registry) takes from that number.
// https://kubernetes.io/docs/tasks/run-application/configure-pdb/
var podDisruptionBudget = kind.Define[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList](kind.Definition[*policyv1.PodDisruptionBudget]{
	Names: kind.Names{
		GroupVersionKind: policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
		Plural:           "poddisruptionbudgets", Singular: "poddisruptionbudget", ShortNames: []string{"pdb"},
		Namespaced: true,
	},
	Status: true,
	Order:  227,
	REST:   kind.REST{VersionRequired: true},
	Lifecycle: kind.Lifecycle[*policyv1.PodDisruptionBudget]{
		Create: func(b *policyv1.PodDisruptionBudget) {
			b.Status = policyv1.PodDisruptionBudgetStatus{}
			dropOldLabel(b.Spec.Selector)
		},
		Update: func(b, old *policyv1.PodDisruptionBudget) {
			b.Status = old.Status
			if kind.Differ(b.Spec.Selector, old.Spec.Selector) {
				dropOldLabel(b.Spec.Selector)
			}
		},
		UpdateStatus: func(b, old *policyv1.PodDisruptionBudget) { b.Spec = old.Spec },
		Changed:      func(b, old *policyv1.PodDisruptionBudget) bool { return kind.Differ(b.Spec, old.Spec) },
	},
	Rules: kind.Rules[*policyv1.PodDisruptionBudget]{
		Name:     rule.PathSegmentName,
		Object:   func(b *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudget(b, false) },
		Replaces: func(b, old *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudget(b, oddSelector(old)) },
		Status:   func(b, _ *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudgetStatus(&b.Status) },
	},
	Table: kind.Table[*policyv1.PodDisruptionBudget]{
		Columns: column.Define("Name", "Min Available", "Max Unavailable", "#Allowed Disruptions", "Age"),
		Row: func(b *policyv1.PodDisruptionBudget, now time.Time) []any {
			return []any{b.Name, amount(b.Spec.MinAvailable), amount(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), column.Age(b, now)}
		},
	},
	Health: kind.Health[*policyv1.PodDisruptionBudget]{Of: budgetHealth},
})

// oldLabel made the difference between all and none in an older version of the API.
const oldLabel = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"

// dropOldLabel keeps the label of the older version out of selectors that ask for
// anything else.
func dropOldLabel(s *metav1.LabelSelector) {
	none := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: oldLabel, Operator: metav1.LabelSelectorOpExists}}}
	if s == nil || !kind.Differ(s, none) {
		return
	}
	s.MatchExpressions = slices.DeleteFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return r.Key == oldLabel })
}

func amount(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

func validateBudget(b *policyv1.PodDisruptionBudget, oddSelectorAllowed bool) field.ErrorList {
	var errs field.ErrorList
	s := &b.Spec
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		// Kubernetes prints its internal form, whose fields have other names.
		errs = append(errs, field.Invalid(rule.Spec, struct {
			MinAvailable               *intstr.IntOrString
			Selector                   *metav1.LabelSelector
			MaxUnavailable             *intstr.IntOrString
			UnhealthyPodEvictionPolicy *policyv1.UnhealthyPodEvictionPolicyType
		}{s.MinAvailable, s.Selector, s.MaxUnavailable, s.UnhealthyPodEvictionPolicy}, "minAvailable and maxUnavailable cannot be both set"))
	}
	errs = append(errs, share(s.MinAvailable, rule.Spec.Child("minAvailable"))...)
	errs = append(errs, share(s.MaxUnavailable, rule.Spec.Child("maxUnavailable"))...)
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector,
		metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: oddSelectorAllowed}, rule.Spec.Child("selector"))...)
	if p := s.UnhealthyPodEvictionPolicy; p != nil {
		errs = append(errs, rule.NotSupported(*p, rule.Spec.Child("unhealthyPodEvictionPolicy"), policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	return errs
}

// oddSelector reports whether a selector that is there already has values that no
// label can have.
func oddSelector(b *policyv1.PodDisruptionBudget) bool {
	return b.Spec.Selector != nil && len(metavalidation.ValidateLabelSelector(b.Spec.Selector, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0
}

func share(v *intstr.IntOrString, path *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	errs := rule.IntOrPercent(*v, path)
	if v.Type == intstr.String && len(errs) == 0 {
		if percent, err := intstr.GetScaledValueFromIntOrPercent(v, 100, true); err == nil && percent > 100 {
			errs = append(errs, field.Invalid(path, *v, "must not be greater than 100%"))
		}
	}
	return errs
}

func validateBudgetStatus(s *policyv1.PodDisruptionBudgetStatus) field.ErrorList {
	errs := metavalidation.ValidateConditions(s.Conditions, rule.Status.Child("conditions"))
	errs = append(errs, rule.NonNegative(s.DisruptionsAllowed, rule.Status.Child("disruptionsAllowed"))...)
	errs = append(errs, rule.NonNegative(s.CurrentHealthy, rule.Status.Child("currentHealthy"))...)
	errs = append(errs, rule.NonNegative(s.DesiredHealthy, rule.Status.Child("desiredHealthy"))...)
	return append(errs, rule.NonNegative(s.ExpectedPods, rule.Status.Child("expectedPods"))...)
}

// budgetHealth is kstatus': a budget is what it asks for as soon as the controller
// has seen it, also if it allows no eviction at present.
func budgetHealth(b *policyv1.PodDisruptionBudget, _ object.Reader) health.Result {
	if r, yes := health.Behind("PodDisruptionBudget", b.Generation, b.Status.ObservedGeneration); yes {
		return r
	}
	return health.Result{Status: health.Current, Message: "AllowedDisruptions has been computed."}
}

// addOldEviction has evictions of policy/v1beta1 decoded as those of policy/v1.
// Budgets of that version are not served.
func addOldEviction(s *runtime.Scheme) error {
	s.AddKnownTypes(policyv1beta1.SchemeGroupVersion, &policyv1beta1.Eviction{})
	return s.AddConversionFunc((*policyv1beta1.Eviction)(nil), (*policyv1.Eviction)(nil), func(from, to any, _ conversion.Scope) error {
		in, out := from.(*policyv1beta1.Eviction), to.(*policyv1.Eviction)
		out.ObjectMeta, out.DeleteOptions = in.ObjectMeta, in.DeleteOptions
		return nil
	})
}

// SetAllowed has the condition DisruptionAllowed of a status say what its number of
// allowed disruptions is.
func SetAllowed(s *policyv1.PodDisruptionBudgetStatus, now time.Time) {
	c := metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
		ObservedGeneration: s.ObservedGeneration, LastTransitionTime: metav1.NewTime(now),
	}
	if s.DisruptionsAllowed > 0 {
		c.Status, c.Reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
	}
	s.Conditions = slices.Clone(s.Conditions)
	meta.SetStatusCondition(&s.Conditions, c)
}
