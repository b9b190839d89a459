package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	library "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	resourcehelper "k8s.io/component-helpers/resource"

	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/podspec"
)

var (
	pods     = schema.GroupResource{Resource: "pods"}
	services = schema.GroupResource{Resource: "services"}

	// aliases are older names of object counts.
	aliases = map[schema.GroupResource]corev1.ResourceName{
		{Resource: "configmaps"}: corev1.ResourceConfigMaps, {Resource: "resourcequotas"}: corev1.ResourceQuotas,
		{Resource: "replicationcontrollers"}: corev1.ResourceReplicationControllers, {Resource: "secrets"}: corev1.ResourceSecrets,
	}

	countPods     = generic.ObjectCountQuotaResourceNameFor(pods)
	countServices = generic.ObjectCountQuotaResourceNameFor(services)

	podResources = []corev1.ResourceName{
		countPods, corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	}
	serviceResources = []corev1.ResourceName{countServices, corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers}
	// explicit are what every container must ask for if a quota counts it.
	explicit = []corev1.ResourceName{
		corev1.ResourceCPU, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	}
)

func zero() resource.Quantity { return resource.Quantity{Format: resource.DecimalSI} }

func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// unlimited is part of evaluators of kinds that no configuration limits.
type unlimited struct{}

// UncoveredQuotaScopes implements quota.Evaluator.
func (unlimited) UncoveredQuotaScopes(_, _ []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	return nil, nil
}

// podEvaluator counts pods and what they ask for.
type podEvaluator struct {
	unlimited
	list generic.ListFuncByNamespace
	now  func() time.Time
}

var _ library.Evaluator = podEvaluator{}

func podOf(obj runtime.Object) (*corev1.Pod, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("expect *v1.Pod, got %T", obj)
	}
	return pod, nil
}

// GroupResource implements quota.Evaluator.
func (podEvaluator) GroupResource() schema.GroupResource { return pods }

// Handles implements quota.Evaluator. A pod may be resized or given a deadline.
func (podEvaluator) Handles(attrs admission.Attributes) bool {
	if sub := attrs.GetSubresource(); sub != "" && sub != "resize" {
		return false
	}
	if attrs.GetOperation() != admission.Update {
		return attrs.GetOperation() == admission.Create
	}
	next, nextErr := podOf(attrs.GetObject())
	old, oldErr := podOf(attrs.GetOldObject())
	return nextErr == nil && oldErr == nil && (terminating(next) != terminating(old) || resized(next, old))
}

// resized reports whether the containers ask for other amounts than before.
func resized(next, old *corev1.Pod) bool {
	same := func(a, b corev1.Container) bool { return equality.Semantic.DeepEqual(a.Resources, b.Resources) }
	return !slices.EqualFunc(next.Spec.Containers, old.Spec.Containers, same) || !slices.EqualFunc(next.Spec.InitContainers, old.Spec.InitContainers, same)
}

// Constraints implements quota.Evaluator.
func (podEvaluator) Constraints(required []corev1.ResourceName, obj runtime.Object) error {
	pod, err := podOf(obj)
	if err != nil {
		return err
	}
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	missing := map[string][]string{}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		asked := compute(c.Resources.Requests, c.Resources.Limits)
		for _, name := range explicit {
			if _, ok := asked[name]; !ok && slices.Contains(required, name) {
				missing[string(name)] = append(missing[string(name)], c.Name)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		slices.Sort(missing[name])
		parts = append(parts, name+" for: "+strings.Join(missing[name], ","))
	}
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}

// Matches implements quota.Evaluator.
func (p podEvaluator) Matches(q *corev1.ResourceQuota, obj runtime.Object) (bool, error) {
	return generic.Matches(q, obj, p.MatchingResources, inScope)
}

// MatchingResources implements quota.Evaluator.
func (podEvaluator) MatchingResources(names []corev1.ResourceName) []corev1.ResourceName {
	var found []corev1.ResourceName
	for _, name := range names {
		asked, request := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
		if slices.Contains(podResources, name) || podspec.IsQuotaHugePages(name) || request && podspec.IsExtended(corev1.ResourceName(asked)) {
			found = append(found, name)
		}
	}
	return found
}

// MatchingScopes implements quota.Evaluator.
func (podEvaluator) MatchingScopes(obj runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	return matching(obj, scopes, inScope)
}

// Usage implements quota.Evaluator.
func (p podEvaluator) Usage(obj runtime.Object) (corev1.ResourceList, error) {
	pod, err := podOf(obj)
	if err != nil {
		return nil, err
	}
	used := corev1.ResourceList{}
	if live(pod, p.now()) {
		// A pod that is resized takes the more of what it has and what it is to have.
		opts := resourcehelper.PodResourcesOptions{UseStatusResources: true}
		used = compute(resourcehelper.PodRequests(pod, opts), resourcehelper.PodLimits(pod, opts))
		used[corev1.ResourcePods] = number(1)
	}
	used[countPods] = number(1)
	return used, nil
}

// UsageStats implements quota.Evaluator.
func (p podEvaluator) UsageStats(options library.UsageStatsOptions) (library.UsageStats, error) {
	return generic.CalculateUsageStats(options, p.list, inScope, p.Usage)
}

// compute names what requests and limits are of a quota.
func compute(requests, limits corev1.ResourceList) corev1.ResourceList {
	used := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if request, ok := requests[name]; ok {
			used[name], used[corev1.DefaultResourceRequestsPrefix+name] = request, request
		}
		if limit, ok := limits[name]; ok {
			used["limits."+name] = limit
		}
	}
	for name, request := range requests {
		switch {
		case podspec.IsQuotaHugePages(name):
			used[name], used[corev1.DefaultResourceRequestsPrefix+name] = request, request
		case podspec.IsExtended(name):
			used[corev1.DefaultResourceRequestsPrefix+name] = request
		}
	}
	return used
}

// live reports whether what a pod asks for is in use: not if it has ended, or
// should have.
func live(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	end, dying := Expires(pod)
	return !dying || !now.After(end)
}

// Expires returns when a pod that is being deleted uses nothing any more, even if
// its node says nothing.
func Expires(pod *corev1.Pod) (time.Time, bool) {
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return time.Time{}, false
	}
	return pod.DeletionTimestamp.Add(loop.Seconds(*pod.DeletionGracePeriodSeconds)), true
}

// serviceEvaluator counts Services, and their node ports and load balancers.
type serviceEvaluator struct {
	unlimited
	list generic.ListFuncByNamespace
}

var _ library.Evaluator = serviceEvaluator{}

// GroupResource implements quota.Evaluator.
func (serviceEvaluator) GroupResource() schema.GroupResource { return services }

// Handles implements quota.Evaluator: a Service may change its type.
func (serviceEvaluator) Handles(attrs admission.Attributes) bool {
	return attrs.GetOperation() == admission.Create || attrs.GetOperation() == admission.Update
}

// Constraints implements quota.Evaluator.
func (serviceEvaluator) Constraints([]corev1.ResourceName, runtime.Object) error { return nil }

// Matches implements quota.Evaluator.
func (s serviceEvaluator) Matches(q *corev1.ResourceQuota, obj runtime.Object) (bool, error) {
	return generic.Matches(q, obj, s.MatchingResources, generic.MatchesNoScopeFunc)
}

// MatchingResources implements quota.Evaluator.
func (serviceEvaluator) MatchingResources(names []corev1.ResourceName) []corev1.ResourceName {
	return library.Intersection(names, serviceResources)
}

// MatchingScopes implements quota.Evaluator.
func (serviceEvaluator) MatchingScopes(runtime.Object, []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	return nil, nil
}

// Usage implements quota.Evaluator. Node ports are counted as they are asked for:
// they may not be assigned yet.
func (serviceEvaluator) Usage(obj runtime.Object) (corev1.ResourceList, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return nil, fmt.Errorf("expect *v1.Service, got %T", obj)
	}
	nodePorts, balancers := 0, 0
	switch allocate := svc.Spec.AllocateLoadBalancerNodePorts; svc.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		balancers = 1
		for _, port := range svc.Spec.Ports {
			if allocate == nil || *allocate || port.NodePort != 0 {
				nodePorts++
			}
		}
	case corev1.ServiceTypeNodePort:
		nodePorts = len(svc.Spec.Ports)
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName:
	}
	return corev1.ResourceList{
		countServices: number(1), corev1.ResourceServices: number(1),
		corev1.ResourceServicesNodePorts: number(nodePorts), corev1.ResourceServicesLoadBalancers: number(balancers),
	}, nil
}

// UsageStats implements quota.Evaluator.
func (s serviceEvaluator) UsageStats(options library.UsageStatsOptions) (library.UsageStats, error) {
	return generic.CalculateUsageStats(options, s.list, generic.MatchesNoScopeFunc, s.Usage)
}
