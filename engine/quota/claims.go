package quota

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	library "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/component-helpers/storage/volume"
)

// ofClass follows the name of a StorageClass in the names of what its claims use.
const ofClass = ".storageclass.storage.k8s.io/"

var (
	claims         = schema.GroupResource{Resource: "persistentvolumeclaims"}
	countClaims    = generic.ObjectCountQuotaResourceNameFor(claims)
	claimResources = []corev1.ResourceName{countClaims, corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
)

// claimEvaluator counts PersistentVolumeClaims and the storage that they ask for, all
// of them and those of each class.
type claimEvaluator struct {
	unlimited
	list generic.ListFuncByNamespace
}

var _ library.Evaluator = claimEvaluator{}

func claimOf(obj runtime.Object) (*corev1.PersistentVolumeClaim, error) {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return nil, fmt.Errorf("expect *v1.PersistentVolumeClaim, got %T", obj)
	}
	return claim, nil
}

// GroupResource implements quota.Evaluator.
func (claimEvaluator) GroupResource() schema.GroupResource { return claims }

// Handles implements quota.Evaluator: a claim may grow.
func (claimEvaluator) Handles(attrs admission.Attributes) bool {
	return attrs.GetSubresource() == "" && (attrs.GetOperation() == admission.Create || attrs.GetOperation() == admission.Update)
}

// Constraints implements quota.Evaluator.
func (claimEvaluator) Constraints([]corev1.ResourceName, runtime.Object) error { return nil }

// Matches implements quota.Evaluator.
func (c claimEvaluator) Matches(q *corev1.ResourceQuota, obj runtime.Object) (bool, error) {
	return generic.Matches(q, obj, c.MatchingResources, claimInScope)
}

// MatchingResources implements quota.Evaluator.
func (claimEvaluator) MatchingResources(names []corev1.ResourceName) []corev1.ResourceName {
	var found []corev1.ResourceName
	for _, name := range names {
		_, what, classed := strings.Cut(string(name), ofClass)
		if slices.Contains(claimResources, name) || classed && (what == string(corev1.ResourceRequestsStorage) || what == string(corev1.ResourcePersistentVolumeClaims)) {
			found = append(found, name)
		}
	}
	return found
}

// MatchingScopes implements quota.Evaluator.
func (claimEvaluator) MatchingScopes(obj runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	return matching(obj, scopes, claimInScope)
}

// Usage implements quota.Evaluator.
func (claimEvaluator) Usage(obj runtime.Object) (corev1.ResourceList, error) {
	claim, err := claimOf(obj)
	if err != nil {
		return nil, err
	}
	used := corev1.ResourceList{countClaims: number(1), corev1.ResourcePersistentVolumeClaims: number(1)}
	class := volume.GetPersistentVolumeClaimClass(claim)
	if class != "" {
		used[corev1.ResourceName(class+ofClass)+corev1.ResourcePersistentVolumeClaims] = number(1)
	}
	size, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return used, nil
	}
	// A claim that asks for less than it has still uses what it has.
	if has := claim.Status.AllocatedResources[corev1.ResourceStorage]; has.Cmp(size) > 0 {
		size = has
	}
	size = size.DeepCopy()
	size.RoundUp(0) // whole bytes
	used[corev1.ResourceRequestsStorage] = size
	if class != "" {
		used[corev1.ResourceName(class+ofClass)+corev1.ResourceRequestsStorage] = size
	}
	return used, nil
}

// UsageStats implements quota.Evaluator.
func (c claimEvaluator) UsageStats(options library.UsageStatsOptions) (library.UsageStats, error) {
	return generic.CalculateUsageStats(options, c.list, claimInScope, c.Usage)
}
