package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// limitRange bounds what the pods of a namespace ask for; engine/admission/plugins
// enforces it.
// https://kubernetes.io/docs/concepts/policy/limit-range/
var limitRange = kind.Define[corev1.LimitRange, corev1.LimitRangeList](kind.Definition[*corev1.LimitRange]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("LimitRange"),
		Plural:           "limitranges", Singular: "limitrange", ShortNames: []string{"limits"},
		Namespaced: true,
	},
	Order:   160,
	Default: defaultLimitRange,
	REST:    kind.REST{CreateOnUpdate: true},
	Rules: kind.Rules[*corev1.LimitRange]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateLimitRange,
	},
	Table: kind.Table[*corev1.LimitRange]{
		Columns: column.Define("Name", "Created At"),
		Row: func(r *corev1.LimitRange, _ time.Time) []any {
			return []any{r.Name, r.CreationTimestamp.UTC().Format(time.RFC3339)}
		},
	},
})

// defaultLimitRange completes the defaults of containers: a limit is the largest
// one, and a request the limit, or the smallest one.
func defaultLimitRange(r *corev1.LimitRange) {
	for i := range r.Spec.Limits {
		item := &r.Spec.Limits[i]
		if item.Type == corev1.LimitTypeContainer {
			complete(&item.Default, item.Max)
			complete(&item.DefaultRequest, item.Default)
			complete(&item.DefaultRequest, item.Min)
		}
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			fill.Milli(list)
		}
	}
}

func complete(list *corev1.ResourceList, from corev1.ResourceList) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	for name, q := range from {
		if _, ok := (*list)[name]; !ok {
			(*list)[name] = q.DeepCopy()
		}
	}
}

func validateLimitRange(r *corev1.LimitRange) field.ErrorList {
	var errs field.ErrorList
	types := map[corev1.LimitType]bool{}
	for i := range r.Spec.Limits {
		item, path := &r.Spec.Limits[i], rule.Spec.Child("limits").Index(i)
		errs = append(errs, limitType(item.Type, path.Child("type"))...)
		if types[item.Type] {
			errs = append(errs, field.Duplicate(path.Child("type"), item.Type))
		}
		types[item.Type] = true
		errs = append(errs, limitItem(item, path)...)
	}
	return errs
}

func limitType(t corev1.LimitType, path *field.Path) field.ErrorList {
	if errs := rule.Invalid(path, t, validation.IsQualifiedName(string(t))); len(errs) > 0 {
		return errs
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
		return nil
	}
	if strings.Contains(string(t), "/") {
		return nil
	}
	return field.ErrorList{field.Invalid(path, t, "must be a standard limit type or fully qualified")}
}

func limitItem(item *corev1.LimitRangeItem, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	lists := []struct {
		name string
		list corev1.ResourceList
	}{{"max", item.Max}, {"min", item.Min}, {"default", item.Default}, {"defaultRequest", item.DefaultRequest}, {"maxLimitRequestRatio", item.MaxLimitRequestRatio}}
	names := map[corev1.ResourceName]bool{}
	for _, l := range lists {
		if item.Type == corev1.LimitTypePod && (l.name == "default" || l.name == "defaultRequest") {
			if len(l.list) > 0 {
				errs = append(errs, field.Forbidden(path.Child(l.name), "may not be specified when `type` is 'Pod'"))
			}
			continue
		}
		inContainers := item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer
		for _, name := range slices.Sorted(maps.Keys(l.list)) {
			names[name] = true
			errs = append(errs, podspec.ResourceName(name, inContainers, path.Child(l.name).Key(string(name)))...)
		}
	}
	_, least := item.Min[corev1.ResourceStorage]
	_, most := item.Max[corev1.ResourceStorage]
	if item.Type == corev1.LimitTypePersistentVolumeClaim && !least && !most {
		errs = append(errs, field.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		errs = append(errs, limitOrder(item, name, path)...)
	}
	return errs
}

// limitOrder is wrong where a smaller amount of a resource exceeds a larger one.
func limitOrder(item *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	low, hasLow := item.Min[name]
	high, hasHigh := item.Max[name]
	limit, hasLimit := item.Default[name]
	request, hasRequest := item.DefaultRequest[name]
	if item.Type == corev1.LimitTypePod {
		hasLimit, hasRequest = false, false
	}
	wrong := func(part string, value resource.Quantity, format string, args ...any) {
		errs = append(errs, field.Invalid(path.Child(part).Key(string(name)), value, fmt.Sprintf(format, args...)))
	}
	exceeds := func(a, b resource.Quantity, both bool) bool { return both && a.Cmp(b) > 0 }
	if exceeds(low, high, hasLow && hasHigh) {
		wrong("min", low, "min value %s is greater than max value %s", low.String(), high.String())
	}
	if exceeds(low, request, hasLow && hasRequest) {
		wrong("defaultRequest", request, "min value %s is greater than default request value %s", low.String(), request.String())
	}
	if exceeds(request, high, hasRequest && hasHigh) {
		wrong("defaultRequest", request, "default request value %s is greater than max value %s", request.String(), high.String())
	}
	if exceeds(request, limit, hasRequest && hasLimit) {
		wrong("defaultRequest", request, "default request value %s is greater than default limit value %s", request.String(), limit.String())
	}
	if exceeds(low, limit, hasLow && hasLimit) {
		wrong("default", low, "min value %s is greater than default value %s", low.String(), limit.String())
	}
	if exceeds(limit, high, hasLimit && hasHigh) {
		wrong("default", high, "default value %s is greater than max value %s", limit.String(), high.String())
	}
	if ratio, ok := item.MaxLimitRequestRatio[name]; ok {
		one := *resource.NewQuantity(1, resource.DecimalSI)
		if ratio.Cmp(one) < 0 {
			wrong("maxLimitRequestRatio", ratio, "ratio %s is less than 1", ratio.String())
		}
		if most := podspec.Ratio(high, low); hasLow && hasHigh && podspec.Ratio(ratio, one) > most {
			wrong("maxLimitRequestRatio", ratio, "ratio %s is greater than max/min = %f", ratio.String(), most)
		}
	}
	if !podspec.Overcommits(name) && hasLimit && hasRequest && limit.Cmp(request) != 0 {
		wrong("defaultRequest", request, "default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), name)
	}
	return errs
}
