package core

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// resourceQuota bounds what the objects of a namespace use together; engine/quota
// counts that, and engine/admit refuses what exceeds it.
// https://kubernetes.io/docs/concepts/policy/resource-quotas/
var resourceQuota = kind.Define[corev1.ResourceQuota, corev1.ResourceQuotaList](kind.Definition[*corev1.ResourceQuota]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ResourceQuota"),
		Plural:           "resourcequotas", Singular: "resourcequota", ShortNames: []string{"quota"},
		Namespaced: true,
	},
	Status: true,
	Order:  20,
	REST:   kind.REST{ReturnsDeleted: true},
	Default: func(q *corev1.ResourceQuota) {
		fill.Milli(q.Spec.Hard)
		fill.Milli(q.Status.Hard)
		fill.Milli(q.Status.Used)
	},
	Lifecycle: kind.Lifecycle[*corev1.ResourceQuota]{
		Create:       func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} },
		Update:       func(q, old *corev1.ResourceQuota) { q.Status = old.Status },
		UpdateStatus: func(q, old *corev1.ResourceQuota) { q.Spec = old.Spec },
	},
	Rules: kind.Rules[*corev1.ResourceQuota]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateResourceQuota,
		Update: validateResourceQuotaUpdate,
		Status: func(q, _ *corev1.ResourceQuota) field.ErrorList { return quotaStatus(q) },
	},
	Warnings: quotaWarnings,
	Table: kind.Table[*corev1.ResourceQuota]{
		Columns: column.Define("Name", "Request", "Limit", "Age"),
		Row:     resourceQuotaRow,
	},
	Health: kind.Health[*corev1.ResourceQuota]{
		Of: func(*corev1.ResourceQuota, object.Reader) health.Result {
			return health.Result{Status: health.Current, Message: "Resource is current"}
		},
	},
})

func resourceQuotaRow(q *corev1.ResourceQuota, now time.Time) []any {
	var requests, limits []string
	for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(string(name), "limits.") {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), column.Age(q, now)}
}

// objectCounts are the resources that count objects, besides count/RESOURCE.
var objectCounts = []corev1.ResourceName{
	corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
	corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
}

// podCompute are those of pods that scopes may be about.
var podCompute = []corev1.ResourceName{
	corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

var quotaScopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
	corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ResourceQuotaScopeVolumeAttributesClass,
}

// isQuotaResource reports whether a quota knows the resource by its short name.
func isQuotaResource(name corev1.ResourceName) bool {
	return slices.Contains(objectCounts, name) || slices.Contains(podCompute, name) || podspec.IsQuotaHugePages(name) ||
		slices.Contains([]corev1.ResourceName{
			corev1.ResourceEphemeralStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage, corev1.ResourceRequestsStorage,
		}, name)
}

func quotaAmounts(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(list)) {
		at := path.Key(string(name))
		errs = append(errs, podspec.QualifiedResource(name, at)...)
		if !strings.Contains(string(name), "/") && !isQuotaResource(name) {
			errs = append(errs, field.Invalid(at, name, "must be a standard resource for quota"))
		}
		value := list[name]
		errs = append(errs, podspec.Quantity(name, value, at)...)
		if name != corev1.ResourcePods && slices.Contains(objectCounts, name) && value.MilliValue()%1000 != 0 {
			errs = append(errs, field.Invalid(at, value, "must be an integer"))
		}
	}
	return errs
}

func validateResourceQuota(q *corev1.ResourceQuota) field.ErrorList {
	errs := quotaAmounts(q.Spec.Hard, rule.Spec.Child("hard"))
	errs = append(errs, validateScopes(&q.Spec)...)
	if q.Spec.ScopeSelector != nil {
		errs = append(errs, validateScopeSelector(&q.Spec)...)
	}
	return errs
}

func quotaStatus(q *corev1.ResourceQuota) field.ErrorList {
	status := field.NewPath("status")
	return append(quotaAmounts(q.Status.Hard, status.Child("hard")), quotaAmounts(q.Status.Used, status.Child("used"))...)
}

// Each scope can be wrong for each resource, and both lists can be as long as a
// request: what is said of them is bounded, and each error names all scopes only
// where they are few.
const (
	fewScopes       = 64
	mostScopeErrors = 1000
)

func validateScopes(s *corev1.ResourceQuotaSpec) field.ErrorList {
	var errs field.ErrorList
	path := rule.Spec.Child("scopes")
	names := slices.Sorted(maps.Keys(s.Hard))
	var value any = s.Scopes
	for _, scope := range s.Scopes {
		if len(s.Scopes) > fewScopes {
			value = scope
		}
		if !slices.Contains(quotaScopes, scope) {
			errs = append(errs, field.Invalid(path, value, "unsupported scope"))
		}
		for _, name := range names {
			if isQuotaResource(name) && !scopes(scope, name) {
				errs = append(errs, field.Invalid(path, value, "unsupported scope applied to resource"))
			}
		}
		if len(errs) > mostScopeErrors {
			return errs
		}
	}
	return append(errs, conflictingScopes(s.Scopes, s, path)...)
}

func validateScopeSelector(s *corev1.ResourceQuotaSpec) field.ErrorList {
	var errs field.ErrorList
	path := rule.Spec.Child("scopeSelector", "matchExpressions")
	var named []corev1.ResourceQuotaScope
	names := slices.Sorted(maps.Keys(s.Hard))
	var value any = s.ScopeSelector
	for _, r := range s.ScopeSelector.MatchExpressions {
		if len(errs) > mostScopeErrors {
			return errs
		}
		if len(s.ScopeSelector.MatchExpressions) > fewScopes {
			value = r.ScopeName
		}
		named = append(named, r.ScopeName)
		if !slices.Contains(quotaScopes, r.ScopeName) {
			errs = append(errs, field.Invalid(path.Child("scopeName"), r.ScopeName, "unsupported scope"))
		}
		for _, name := range names {
			if isQuotaResource(name) && !scopes(r.ScopeName, name) {
				errs = append(errs, field.Invalid(path, value, "unsupported scope applied to resource"))
			}
		}
		switch r.ScopeName {
		case corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating,
			corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
			if r.Operator != corev1.ScopeSelectorOpExists {
				errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "+
					"ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
			}
		case corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass:
		}
		switch r.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(path.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(r.Values) != 0 {
				errs = append(errs, field.Invalid(path.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
			}
		default:
			errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator"))
		}
	}
	return append(errs, conflictingScopes(named, s, path)...)
}

func conflictingScopes(named []corev1.ResourceQuotaScope, s *corev1.ResourceQuotaSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(named, pair[0]) && slices.Contains(named, pair[1]) {
			errs = append(errs, field.Invalid(path, s.Scopes, "conflicting scopes"))
		}
	}
	return errs
}

// scopes reports whether a scope can be about a resource.
func scopes(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	switch scope {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return slices.Contains(podCompute, name)
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	}
	return true
}

func validateResourceQuotaUpdate(q, old *corev1.ResourceQuota) field.ErrorList {
	set := func(list []corev1.ResourceQuotaScope) []corev1.ResourceQuotaScope {
		return slices.Compact(slices.SortedFunc(slices.Values(list), cmp.Compare[corev1.ResourceQuotaScope]))
	}
	if slices.Equal(set(q.Spec.Scopes), set(old.Spec.Scopes)) {
		return nil
	}
	return field.ErrorList{field.Invalid(rule.Spec.Child("scopes"), q.Spec.Scopes, apivalidation.FieldImmutableErrorMsg)}
}

// quotaWarnings tells if a new quota allows more requests than limits.
func quotaWarnings(q, old *corev1.ResourceQuota) []string {
	if old != nil {
		return nil
	}
	var told []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		requests := "requests." + name
		amount, ok := q.Spec.Hard[requests]
		if !ok && (name == corev1.ResourceCPU || name == corev1.ResourceMemory) {
			requests = name
			amount, ok = q.Spec.Hard[name]
		}
		if limit, limited := q.Spec.Hard["limits."+name]; ok && limited && amount.Cmp(limit) > 0 {
			told = append(told, fmt.Sprintf("ResourceQuota %s (%s) should be less than limits.%s (%s)", requests, amount.String(), name, limit.String()))
		}
	}
	return told
}
