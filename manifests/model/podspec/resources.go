package podspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"headway.dev/manifests/model/rule"
)

func resources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	return requirements(r, containerResource, path)
}

// requirements validates requests and limits, of which one validates each.
func requirements(r *corev1.ResourceRequirements, one func(corev1.ResourceName, resource.Quantity, *field.Path) field.ErrorList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	limits, requests := path.Child("limits"), path.Child("requests")
	compute, huge := false, false
	look := func(name corev1.ResourceName) {
		compute = compute || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		huge = huge || isHugePages(name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Limits)) {
		errs = append(errs, one(name, r.Limits[name], limits.Key(string(name)))...)
		look(name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
		request := r.Requests[name]
		errs = append(errs, one(name, request, requests.Key(string(name)))...)
		look(name)
		limit, limited := r.Limits[name]
		overcommit := Overcommits(name)
		switch {
		case !limited && !overcommit:
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		case limited && !overcommit && request.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	if huge && !compute {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return errs
}

// podResources validates what the containers of a pod share.
func podResources(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := requirements(s.Resources, podResource, path)
	requested := resourcehelper.AggregateContainerRequests(&corev1.Pod{Spec: *s}, resourcehelper.PodResourcesOptions{})
	for _, name := range slices.Sorted(maps.Keys(requested)) {
		sum := requested[name]
		if own, ok := s.Resources.Requests[name]; ok && sum.Cmp(own) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), own.String(), "must be greater than or equal to aggregate container requests of "+sum.String()))
		}
	}
	limited := resourcehelper.AggregateContainerLimits(&corev1.Pod{Spec: *s}, resourcehelper.PodResourcesOptions{})
	for _, name := range slices.Sorted(maps.Keys(limited)) {
		sum := limited[name]
		if own, ok := s.Resources.Limits[name]; ok && isHugePages(name) && sum.Cmp(own) > 0 {
			errs = append(errs, field.Invalid(path.Child("limits").Key(string(name)), own.String(), "must be greater than or equal to aggregate container limits of "+sum.String()))
		}
	}
	for i := range s.Containers {
		limits := s.Containers[i].Resources.Limits
		for _, name := range slices.Sorted(maps.Keys(limits)) {
			limit := limits[name]
			if own, ok := s.Resources.Limits[name]; ok && limit.Cmp(own) > 0 {
				// At a path that does not exist, as in Kubernetes.
				errs = append(errs, field.Invalid(path.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(), "must be less than or equal to pod limits of "+own.String()))
			}
		}
	}
	return errs
}

// podResource validates an amount that the containers of a pod share.
func podResource(name corev1.ResourceName, value resource.Quantity, path *field.Path) field.ErrorList {
	errs := QualifiedResource(name, path)
	if len(errs) == 0 && !resourcehelper.IsSupportedPodLevelResource(name) {
		errs = append(errs, field.NotSupported(path, name, sets.List(resourcehelper.SupportedPodLevelResources())))
	}
	errs = append(errs, Quantity(name, value, path)...)
	return append(errs, hugePages(name, value, path)...)
}

// Overhead validates what pods cost besides their containers.
func Overhead(list corev1.ResourceList, path *field.Path) field.ErrorList {
	return resources(&corev1.ResourceRequirements{Limits: list}, path)
}

// resizePolicy holds for what a container does when it is given more or less.
func resizePolicy(list []corev1.ContainerResizePolicy, restarts corev1.RestartPolicy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	named := map[corev1.ResourceName]bool{}
	for i, p := range list {
		if named[p.ResourceName] {
			errs = append(errs, field.Duplicate(path.Index(i), p.ResourceName))
		}
		named[p.ResourceName] = true
		errs = append(errs, rule.OneOf(p.ResourceName, path, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, rule.OneOf(p.RestartPolicy, path, corev1.NotRequired, corev1.RestartContainer)...)
		if restarts == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
		}
	}
	return errs
}

func containerResource(name corev1.ResourceName, value resource.Quantity, path *field.Path) field.ErrorList {
	errs := append(ResourceName(name, true, path), Quantity(name, value, path)...)
	return append(errs, hugePages(name, value, path)...)
}

// ResourceName validates the name of a resource, which in containers has to be one
// that they can be given.
func ResourceName(name corev1.ResourceName, inContainers bool, path *field.Path) field.ErrorList {
	errs := QualifiedResource(name, path)
	switch {
	case !inContainers:
	case !strings.Contains(string(name), "/"):
		if !isStandard(name) {
			errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
		}
	case !isNative(name) && !isExtended(name):
		errs = append(errs, field.Invalid(path, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

// Overcommits reports whether the requests of a resource may be below its limits.
func Overcommits(name corev1.ResourceName) bool { return isNative(name) && !isHugePages(name) }

// standardNames are the resources that have a short name: those of containers, of claims
// and of quotas.
var standardNames = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourceStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceRequestsStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
	corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
}

// QualifiedResource validates the name of a resource, which has a domain unless it
// is a standard one.
func QualifiedResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if errs := rule.Invalid(path, name, validation.IsQualifiedName(string(name))); len(errs) > 0 {
		return errs
	}
	if !strings.Contains(string(name), "/") && !slices.Contains(standardNames, name) && !IsQuotaHugePages(name) {
		return field.ErrorList{field.Invalid(path, name, "must be a standard resource type or fully qualified")}
	}
	return nil
}

// hugePages requires whole pages.
func hugePages(name corev1.ResourceName, value resource.Quantity, path *field.Path) field.ErrorList {
	size, huge := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
	if !huge {
		return nil
	}
	page, err := resource.ParseQuantity(size)
	if err == nil && page.Sign() > 0 && page.MilliValue()%1000 == 0 && value.Value()%page.Value() == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value.String(), fmt.Sprintf("%s is not positive integer multiple of %s", value.String(), name))}
}

// Quantity requires a possible amount of a resource.
func Quantity(name corev1.ResourceName, value resource.Quantity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if value.Sign() < 0 {
		errs = append(errs, field.Invalid(path, value.String(), apivalidation.IsNegativeErrorMsg))
	}
	if (name == corev1.ResourcePods || isExtended(name)) && value.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, value, "must be an integer"))
	}
	return errs
}

// Ratio is how often an amount contains another, both to the thousandth unless they are
// too large for that.
func Ratio(amount, other resource.Quantity) float64 {
	if max(amount.Value(), other.Value()) > resource.MaxMilliValue {
		return float64(amount.Value()) / float64(other.Value())
	}
	return float64(amount.MilliValue()) / float64(other.MilliValue())
}

// isStandard reports whether a container can be given the resource by the short
// name.
func isStandard(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage || isHugePages(name)
}

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// IsQuotaHugePages reports whether a quota of that name is one of huge pages.
func IsQuotaHugePages(name corev1.ResourceName) bool {
	return isHugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// IsExtended reports whether a resource is one that nodes advertise by themselves.
func IsExtended(name corev1.ResourceName) bool { return isExtended(name) }

func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

func isExtended(name corev1.ResourceName) bool {
	if isNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	// A quota names it so.
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// mostAmount is the highest amount that is counted with: more than a machine has, and so
// much less than an int64 holds that those of a node's pods can be added.
const mostAmount = 1 << 52

var mostWhole, mostMilli = resource.MustParse("4503599627370496"), resource.MustParse("4503599627370496m")

// Whole is an amount in whole units, rounded up, as far as it is counted. What a Quantity
// says of amounts that an int64 does not hold, as sums of containers may be, is anything:
// zero, or less.
func Whole(q resource.Quantity) int64 {
	if q.Cmp(mostWhole) > 0 {
		return mostAmount
	}
	return q.Value()
}

// Milli is Whole in thousandths.
func Milli(q resource.Quantity) int64 {
	if q.Cmp(mostMilli) > 0 {
		return mostAmount
	}
	return q.MilliValue()
}
