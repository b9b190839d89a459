package plugins

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	podresource "k8s.io/component-helpers/resource"

	chain "headway.dev/engine/admission"
	"headway.dev/engine/quota"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
)

const limitRangerAnnotation = "kubernetes.io/limit-ranger"

var limitRangeKind = schema.GroupKind{Kind: "LimitRange"}

// limitRanger is LimitRanger: containers get the requests and limits that a
// LimitRange of the namespace has for those which ask for none, and then every
// container and the pod as a whole must keep to its bounds.
// https://kubernetes.io/docs/concepts/policy/limit-range/
type limitRanger struct {
	stored object.Reader
}

// Handles implements admission.Interface.
func (limitRanger) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Wants implements admission.Selective.
func (limitRanger) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == pods && (subresource == "" || subresource == resize) || resource == claims && subresource == ""
}

// sizedPod is the pod that is created or resized, nil if it is something else.
func sizedPod(attrs admission.Attributes) *corev1.Pod {
	if pod := resizedPod(attrs); pod != nil && pod.DeletionTimestamp == nil {
		return pod
	}
	return newPod(attrs)
}

func (p limitRanger) ranges(ctx context.Context, namespace string) []*corev1.LimitRange {
	objs, _ := chain.View(ctx, p.stored).List(limitRangeKind, namespace)
	var list []*corev1.LimitRange
	for _, obj := range objs {
		if r, ok := obj.(*corev1.LimitRange); ok {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *corev1.LimitRange) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Admit implements admission.MutationInterface.
func (p limitRanger) Admit(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := sizedPod(attrs)
	if pod == nil {
		return nil
	}
	for _, r := range p.ranges(ctx, attrs.GetNamespace()) {
		for _, item := range r.Spec.Limits {
			if item.Type == corev1.LimitTypeContainer {
				setResources(pod, item)
			}
		}
	}
	return nil
}

// setResources gives the containers what they lack, and notes that as Kubernetes
// does.
func setResources(pod *corev1.Pod, item corev1.LimitRangeItem) {
	var notes []string
	fill := func(list *corev1.ResourceList, from corev1.ResourceList, what, whose string) {
		var set []string
		for _, name := range slices.Sorted(maps.Keys(from)) {
			if _, has := (*list)[name]; has {
				continue
			}
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[name] = from[name].DeepCopy()
			set = append(set, string(name))
		}
		if len(set) > 0 {
			notes = append(notes, strings.Join(set, ", ")+" "+what+" for "+whose)
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		fill(&c.Resources.Requests, item.DefaultRequest, "request", "container "+c.Name)
		fill(&c.Resources.Limits, item.Default, "limit", "container "+c.Name)
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		fill(&c.Resources.Requests, item.DefaultRequest, "request", "init container "+c.Name)
		fill(&c.Resources.Limits, item.Default, "limit", "init container "+c.Name)
	}
	if len(notes) == 0 {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[limitRangerAnnotation] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
}

// Validate implements admission.ValidationInterface.
func (p limitRanger) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	if claim, ok := attrs.GetObject().(*corev1.PersistentVolumeClaim); ok {
		return p.validateClaim(ctx, attrs, claim)
	}
	pod := sizedPod(attrs)
	if pod == nil {
		return nil
	}
	for _, r := range p.ranges(ctx, attrs.GetNamespace()) {
		var errs []error
		for _, item := range r.Spec.Limits {
			switch item.Type {
			case corev1.LimitTypeContainer:
				for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
					for _, c := range list {
						errs = append(errs, outOfBounds(item, c.Resources.Requests, c.Resources.Limits)...)
					}
				}
			case corev1.LimitTypePod:
				own := podresource.PodResourcesOptions{ExcludeOverhead: true}
				errs = append(errs, outOfBounds(item, podresource.PodRequests(pod, own), podresource.PodLimits(pod, own))...)
			case corev1.LimitTypePersistentVolumeClaim: // of claims
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return admission.NewForbidden(attrs, err)
		}
	}
	return nil
}

// validateClaim has a claim ask for an amount within the bounds, until it is deleted:
// nothing keeps one from going that was there before the bounds.
func (p limitRanger) validateClaim(ctx context.Context, attrs admission.Attributes, claim *corev1.PersistentVolumeClaim) error {
	if old, ok := attrs.GetOldObject().(*corev1.PersistentVolumeClaim); ok && old.DeletionTimestamp != nil {
		return nil
	}
	for _, r := range p.ranges(ctx, attrs.GetNamespace()) {
		var errs []error
		for _, item := range r.Spec.Limits {
			if item.Type != corev1.LimitTypePersistentVolumeClaim {
				continue
			}
			least := item
			least.Max, least.MaxLimitRequestRatio = nil, nil
			errs = append(errs, outOfBounds(least, claim.Spec.Resources.Requests, nil)...)
			for _, name := range slices.Sorted(maps.Keys(item.Max)) {
				most := item.Max[name]
				if request, ok := claim.Spec.Resources.Requests[name]; !ok {
					errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, item.Type, most.String()))
				} else if request.Cmp(most) > 0 {
					errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, item.Type, most.String(), request.String()))
				}
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return admission.NewForbidden(attrs, err)
		}
	}
	return nil
}

// outOfBounds tells what of the requests and limits an item does not allow.
func outOfBounds(item corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		least, request, limit := item.Min[name], requests[name], limits[name]
		_, requested := requests[name]
		_, limited := limits[name]
		switch {
		case !requested:
			wrong("minimum %s usage per %s is %s.  No request is specified", name, item.Type, least.String())
		case request.Cmp(least) < 0:
			wrong("minimum %s usage per %s is %s, but request is %s", name, item.Type, least.String(), request.String())
		case limited && limit.Cmp(least) < 0:
			wrong("minimum %s usage per %s is %s, but limit is %s", name, item.Type, least.String(), limit.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		most, request, limit := item.Max[name], requests[name], limits[name]
		_, requested := requests[name]
		_, limited := limits[name]
		switch {
		case !limited:
			wrong("maximum %s usage per %s is %s.  No limit is specified", name, item.Type, most.String())
		case limit.Cmp(most) > 0:
			wrong("maximum %s usage per %s is %s, but limit is %s", name, item.Type, most.String(), limit.String())
		case requested && request.Cmp(most) > 0:
			wrong("maximum %s usage per %s is %s, but request is %s", name, item.Type, most.String(), request.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		most, request, limit := item.MaxLimitRequestRatio[name], requests[name], limits[name]
		ratio := podspec.Ratio(limit, request)
		switch {
		case request.IsZero():
			wrong("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, item.Type, most.String())
		case limit.IsZero():
			wrong("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, item.Type, most.String())
		case ratio > podspec.Ratio(most, *resource.NewQuantity(1, resource.DecimalSI)):
			wrong("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, item.Type, most.String(), ratio)
		}
	}
	return errs
}

// resourceQuota is ResourceQuota: what is created must not use more than the quotas
// of its namespace have left. The store checks it again for whatever is written, at
// the point of commit; here dry runs are checked, too.
type resourceQuota struct {
	stored object.Reader
	quotas quota.Quotas
}

// Handles implements admission.Interface.
func (resourceQuota) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Validate implements admission.ValidationInterface.
func (p resourceQuota) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	return p.quotas.Check(chain.View(ctx, p.stored), attrs.GetKind().GroupKind(), attrs)
}
