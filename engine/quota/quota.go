package quota

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	library "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Kind is ResourceQuota.
var Kind = schema.GroupKind{Kind: "ResourceQuota"}

// Kinds knows the kinds whose objects are counted.
type Kinds interface {
	ForKind(gk schema.GroupKind) (*kind.Kind, bool)
	ForResource(resource schema.GroupResource) (*kind.Kind, bool)
}

// Quotas counts what is used.
type Quotas struct {
	Kinds Kinds
	Now   func() time.Time
}

// Of returns the quotas of a namespace, by name.
func Of(view object.Reader, namespace string) []*corev1.ResourceQuota {
	if namespace == "" {
		return nil
	}
	objs, _ := view.List(Kind, namespace)
	var list []*corev1.ResourceQuota
	for _, obj := range objs {
		if q, ok := obj.(*corev1.ResourceQuota); ok {
			list = append(list, q)
		}
	}
	slices.SortFunc(list, func(a, b *corev1.ResourceQuota) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Charge returns what a change makes of a quota, which is the quota itself if it
// does not concern that, or refuses the change. old and next are nil for a creation
// and a deletion. view is the state with the change.
func (c Quotas) Charge(view object.Reader, q *corev1.ResourceQuota, key object.Key, next, old object.Object) (*corev1.ResourceQuota, error) {
	evaluator, k := c.evaluator(view, key.GroupKind)
	if evaluator == nil || len(evaluator.MatchingResources(library.ResourceNames(q.Spec.Hard))) == 0 {
		return q, nil
	}
	before := c.used(q, evaluator, old)
	delta := library.Subtract(c.used(q, evaluator, next), before)
	if library.IsZero(delta) && old != nil {
		return q, nil
	}
	if !Counted(q, evaluator) {
		// A kind has come since.
		counted := c.Recalculate(view, q)
		counted.Status.Used = clamped(library.Subtract(counted.Status.Used, library.Mask(delta, library.ResourceNames(counted.Status.Hard))))
		q = counted
	}
	if next != nil {
		if err := check(q, evaluator, attributes(k, key, next, old)); err != nil {
			return nil, err
		}
	}
	if library.IsZero(library.Mask(delta, library.ResourceNames(q.Status.Hard))) {
		return q, nil
	}
	q = q.DeepCopy()
	q.Status.Used = clamped(library.Add(q.Status.Used, library.Mask(delta, library.ResourceNames(q.Status.Hard))))
	return q, nil
}

// Check refuses what a request would use beyond the quotas of its namespace.
func (c Quotas) Check(view object.Reader, gk schema.GroupKind, attrs admission.Attributes) error {
	quotas := Of(view, attrs.GetNamespace())
	if len(quotas) == 0 {
		return nil
	}
	evaluator, _ := c.evaluator(view, gk)
	if evaluator == nil || attrs.GetSubresource() != "" && !evaluator.Handles(attrs) {
		return nil
	}
	for _, q := range quotas {
		if !Counted(q, evaluator) {
			q = c.Recalculate(view, q)
		}
		if err := check(q, evaluator, attrs); err != nil {
			return err
		}
	}
	return nil
}

// Recalculate returns a copy of a quota with what is used of it in view.
func (c Quotas) Recalculate(view object.Reader, q *corev1.ResourceQuota) *corev1.ResourceQuota {
	q = q.DeepCopy()
	q.Status.Hard = q.Spec.Hard.DeepCopy()
	names := library.ResourceNames(q.Spec.Hard)
	registry := generic.NewRegistry(nil)
	for _, gk := range c.counted(names) {
		if evaluator, _ := c.evaluator(view, gk); evaluator != nil {
			registry.Add(evaluator)
		}
	}
	// Nothing fails: the lists are in memory.
	used, _ := library.CalculateUsage(q.Namespace, q.Spec.Scopes, q.Spec.Hard, registry, q.Spec.ScopeSelector)
	q.Status.Used = used
	return q
}

// Changed reports whether a quota has to be recalculated as it is written. What somebody
// makes of its status is left to the controller, as in Kubernetes; nobody counts by it.
func Changed(next, old *corev1.ResourceQuota) bool {
	return old == nil || !equality.Semantic.DeepEqual(next.Spec, old.Spec)
}

// Counted reports whether the status says how much of each resource that an
// evaluator counts is used.
func Counted(q *corev1.ResourceQuota, evaluator library.Evaluator) bool {
	if !library.Equals(q.Spec.Hard, q.Status.Hard) {
		return false
	}
	for _, name := range evaluator.MatchingResources(library.ResourceNames(q.Status.Hard)) {
		if _, ok := q.Status.Used[name]; !ok {
			return false
		}
	}
	return true
}

// used is what an object uses of a quota; nil uses nothing.
func (c Quotas) used(q *corev1.ResourceQuota, evaluator library.Evaluator, obj object.Object) corev1.ResourceList {
	if obj == nil {
		return corev1.ResourceList{}
	}
	hard := q
	if !library.Equals(q.Spec.Hard, q.Status.Hard) {
		hard = &corev1.ResourceQuota{Spec: q.Spec, Status: corev1.ResourceQuotaStatus{Hard: q.Spec.Hard}}
	}
	if matches, err := evaluator.Matches(hard, obj); err != nil || !matches {
		return corev1.ResourceList{}
	}
	used, err := evaluator.Usage(obj)
	if err != nil {
		return corev1.ResourceList{}
	}
	return library.Mask(used, evaluator.MatchingResources(library.ResourceNames(hard.Status.Hard)))
}

// check is the library's, for one quota.
func check(q *corev1.ResourceQuota, evaluator library.Evaluator, attrs admission.Attributes) error {
	_, err := resourcequota.CheckRequest([]corev1.ResourceQuota{*q}, attrs, evaluator, nil)
	return err
}

// evaluator counts the objects of a kind, nil if they are not counted.
func (c Quotas) evaluator(view object.Reader, gk schema.GroupKind) (library.Evaluator, *kind.Kind) {
	k, ok := c.Kinds.ForKind(gk)
	if !ok || !k.Namespaced || k.Kind == "Event" {
		return nil, nil
	}
	list := func(namespace string) ([]runtime.Object, error) {
		objs, _ := view.List(gk, namespace)
		out := make([]runtime.Object, len(objs))
		for i, obj := range objs {
			out[i] = obj
		}
		return out, nil
	}
	switch resource := k.Resource().GroupResource(); resource {
	case pods:
		return podEvaluator{list: list, now: c.Now}, k
	case services:
		return serviceEvaluator{list: list}, k
	case claims:
		return claimEvaluator{list: list}, k
	default:
		return generic.NewObjectCountEvaluator(resource, list, aliases[resource]), k
	}
}

// counted are the kinds that resources of a quota are about.
func (c Quotas) counted(names []corev1.ResourceName) []schema.GroupKind {
	found := map[schema.GroupKind]bool{{Kind: "Pod"}: true, {Kind: "Service"}: true, {Kind: "PersistentVolumeClaim"}: true}
	for _, name := range names {
		resource, isCount := strings.CutPrefix(string(name), "count/")
		if !isCount {
			for gr, alias := range aliases {
				if alias == name {
					resource, isCount = gr.Resource, true
				}
			}
		}
		if !isCount {
			continue
		}
		if k, ok := c.Kinds.ForResource(schema.ParseGroupResource(resource)); ok {
			found[k.GroupKind()] = true
		}
	}
	kinds := make([]schema.GroupKind, 0, len(found))
	for gk := range found {
		kinds = append(kinds, gk)
	}
	slices.SortFunc(kinds, func(a, b schema.GroupKind) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind))
	})
	return kinds
}

// attributes are those of the request that a change would be.
func attributes(k *kind.Kind, key object.Key, next, old object.Object) admission.Attributes {
	op, options := admission.Create, runtime.Object(&metav1.CreateOptions{})
	var was runtime.Object
	if old != nil {
		op, options, was = admission.Update, &metav1.UpdateOptions{}, old
	}
	return admission.NewAttributesRecord(next, was, k.GroupVersionKind, key.Namespace, key.Name, k.Resource(), "", op, options, false, nil)
}

// clamped has no amounts below zero.
func clamped(list corev1.ResourceList) corev1.ResourceList {
	for _, name := range library.IsNegative(list) {
		list[name] = zero()
	}
	return list
}

var _ Kinds = (*scheme.Registry)(nil)
