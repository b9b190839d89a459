package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/ptr"

	"headway.dev/engine/api/strategy"
	"headway.dev/manifests/model/kinds/policy"
	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
)

// maxEvicted is how many pods a budget may have that were evicted, and that
// engine/controllers/disruption has not seen yet.
const maxEvicted = 2000

var (
	evictionKind = policyv1.SchemeGroupVersion.WithKind("Eviction")
	budgetKind   = policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget").GroupKind()
)

// Eviction is the REST storage of pods/eviction: a delete that a
// PodDisruptionBudget can refuse, before which the pod's status says who disrupts
// it. What a budget allows is checked and taken from in one write of its status.
type Eviction struct {
	pods    Resource
	status  Status
	budgets *genericregistry.Store
	reader  object.Reader
	now     func() time.Time
}

func newEviction(pods Resource, budgets *genericregistry.Store, reader object.Reader, now func() time.Time) Eviction {
	return Eviction{pods, newStatus(pods.Store, strategy.Status{Main: strategy.New(pods.kind, now)}), budgets, reader, now}
}

// New implements rest.Storage.
func (e Eviction) New() runtime.Object { return &policyv1.Eviction{} }

// Destroy implements rest.Storage; pods own the store.
func (e Eviction) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (e Eviction) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return evictionKind }

// AcceptsGroupVersion implements rest.GroupVersionAcceptor: older clients send the
// older form.
func (e Eviction) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv == policyv1.SchemeGroupVersion || gv == policyv1beta1.SchemeGroupVersion
}

// Create implements rest.NamedCreater.
func (e Eviction) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	eviction, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", obj))
	}
	if name != eviction.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if eviction.DeleteOptions != nil && ptr.Deref(eviction.DeleteOptions.IgnoreStoreReadErrorWithClusterBreakingPotential, false) {
		return nil, apierrors.NewInvalid(evictionKind.GroupKind(), name, field.ErrorList{field.Invalid(
			field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential"), true, "can not be set for pod eviction, try after removing the option")})
	}
	remove, err := deleteOptions(eviction, options)
	if err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, eviction.DeepCopy()); err != nil {
			return nil, err
		}
	}
	return e.evict(ctx, name, remove)
}

// deleteOptions are those of the eviction, with the dry run of the request.
func deleteOptions(eviction *policyv1.Eviction, options *metav1.CreateOptions) (*metav1.DeleteOptions, error) {
	remove := &metav1.DeleteOptions{}
	if eviction.DeleteOptions != nil {
		remove = eviction.DeleteOptions.DeepCopy()
	}
	switch {
	case len(remove.DryRun) == 0:
		remove.DryRun = options.DryRun
	case len(options.DryRun) > 0 && !slices.Equal(remove.DryRun, options.DryRun):
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", options.DryRun, remove.DryRun) //nolint:staticcheck // Kubernetes' words
	}
	return remove, nil
}

// evict deletes a pod if its budget allows that. Whether it has to be asked depends on
// the pod: what was read of it has to be true still when it is deleted.
func (e Eviction) evict(ctx context.Context, name string, remove *metav1.DeleteOptions) (runtime.Object, error) {
	for {
		found, err := e.pods.Get(ctx, name, &metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		pod, ok := found.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("evict a %T: not a pod", found)
		}
		if !unguarded(pod) {
			return e.guarded(ctx, pod, remove)
		}
		version := ""
		if pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil {
			version = pod.ResourceVersion // it could become ready meanwhile
		}
		err = e.remove(ctx, name, asOf(remove, version))
		if apierrors.IsConflict(err) && !versioned(remove) && version != "" && ctx.Err() == nil && e.changed(pod) {
			continue
		}
		return success(err)
	}
}

// unguarded reports whether deleting the pod disrupts nothing any more, or not yet.
func unguarded(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodPending:
		return true
	case corev1.PodRunning, corev1.PodUnknown:
	}
	return pod.DeletionTimestamp != nil
}

// changed reports whether the pod is another one than was read.
func (e Eviction) changed(pod *corev1.Pod) bool {
	now := e.reader.Get(object.KeyOf(corev1.SchemeGroupVersion.WithKind("Pod").GroupKind(), pod))
	return now == nil || now.GetResourceVersion() != pod.ResourceVersion
}

// guarded deletes a pod that budgets may guard.
func (e Eviction) guarded(ctx context.Context, pod *corev1.Pod, remove *metav1.DeleteOptions) (runtime.Object, error) {
	budgets := e.of(pod)
	if len(budgets) > 1 {
		return &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
		}, nil
	}
	if len(budgets) == 0 {
		return success(e.remove(ctx, pod.Name, remove))
	}
	budget := budgets[0]
	if !free(budget, pod) {
		if err := e.take(ctx, budget.Name, pod.Name, dryrun.IsDryRun(remove.DryRun)); err != nil {
			return nil, err
		}
		return success(e.remove(ctx, pod.Name, remove))
	}
	// Only as long as it is not ready.
	err := e.remove(ctx, pod.Name, asOf(remove, pod.ResourceVersion))
	if apierrors.IsConflict(err) && !versioned(remove) {
		return nil, tryAgain(budget.Name)
	}
	return success(err)
}

// of are the budgets that select the pod.
func (e Eviction) of(pod *corev1.Pod) []*policyv1.PodDisruptionBudget {
	all, _ := e.reader.List(budgetKind, pod.Namespace)
	var found []*policyv1.PodDisruptionBudget
	for _, obj := range all {
		b, ok := obj.(*policyv1.PodDisruptionBudget)
		if !ok {
			continue
		}
		if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
			found = append(found, b)
		}
	}
	return found
}

// free reports whether a pod is not among those that the budget counts as healthy,
// and may go.
func free(b *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return false
		}
	}
	return ptr.Deref(b.Spec.UnhealthyPodEvictionPolicy, policyv1.IfHealthyBudget) == policyv1.AlwaysAllow ||
		b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

// take takes one from what the budget allows, or says why it allows nothing.
func (e Eviction) take(ctx context.Context, name, pod string, dryRun bool) error {
	key, err := e.budgets.KeyFunc(ctx, name)
	if err != nil {
		return err
	}
	err = e.budgets.Storage.GuaranteedUpdate(ctx, key, &policyv1.PodDisruptionBudget{}, false, nil,
		storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
			b, ok := existing.(*policyv1.PodDisruptionBudget)
			if !ok {
				return nil, fmt.Errorf("take from a %T: not a budget", existing)
			}
			if err := refusal(b); err != nil {
				return nil, err
			}
			now := e.now()
			next := *b
			next.Status.DisruptionsAllowed--
			if next.Status.DisruptionsAllowed == 0 {
				policy.SetAllowed(&next.Status, now)
			}
			next.Status.DisruptedPods = maps.Clone(b.Status.DisruptedPods)
			if next.Status.DisruptedPods == nil {
				next.Status.DisruptedPods = map[string]metav1.Time{}
			}
			next.Status.DisruptedPods[pod] = metav1.NewTime(now)
			return &next, nil
		}), dryRun, nil)
	return storeerr.InterpretGetError(err, schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudgets"}, name)
}

const violates = "Cannot evict pod as it would violate the pod's disruption budget."

// refusal is why the budget allows no eviction at present, nil if it allows one.
func refusal(b *policyv1.PodDisruptionBudget) error {
	s := &b.Status
	forbidden := func(text, cause string) error {
		err := apierrors.NewForbidden(schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudget"}, b.Name, errors.New(text))
		return caused(err, fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: %s", b.Name, cause))
	}
	switch {
	case s.ObservedGeneration < b.Generation:
		return tryAgain(b.Name)
	case s.DisruptionsAllowed < 0:
		return forbidden("pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(s.DisruptedPods) > maxEvicted:
		return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller", "too many pending evictions not confirmed by PDB controller")
	case s.DisruptionsAllowed > 0:
		return nil
	}
	why := fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
	c := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition)
	told := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case told && c.Reason == policyv1.SyncFailedReason: // the counts are not to be trusted then
		why += " because it failed sync: " + c.Message
	case s.CurrentHealthy <= s.DesiredHealthy:
		why = fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, s.DesiredHealthy, s.CurrentHealthy)
	case told:
		why += fmt.Sprintf(" (%s): %s", c.Reason, c.Message)
	}
	return caused(apierrors.NewTooManyRequests(violates, 0), why)
}

// tryAgain is the answer while the status of a budget is not that of its spec.
func tryAgain(budget string) error {
	return caused(apierrors.NewTooManyRequests(violates, 10), fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

func caused(err *apierrors.StatusError, message string) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: message})
	return err
}

// versioned reports whether the request itself names a version of the pod.
func versioned(remove *metav1.DeleteOptions) bool {
	return remove.Preconditions != nil && remove.Preconditions.ResourceVersion != nil
}

// asOf is remove for a version of the pod alone; an empty one changes nothing, and one
// that the request names stays if the pod may be another meanwhile.
func asOf(remove *metav1.DeleteOptions, version string) *metav1.DeleteOptions {
	if version == "" || versioned(remove) {
		return remove
	}
	remove = remove.DeepCopy()
	if remove.Preconditions == nil {
		remove.Preconditions = &metav1.Preconditions{}
	}
	remove.Preconditions.ResourceVersion = &version
	return remove
}

func success(err error) (runtime.Object, error) {
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// remove marks the pod and deletes it.
func (e Eviction) remove(ctx context.Context, name string, remove *metav1.DeleteOptions) error {
	if !dryrun.IsDryRun(remove.DryRun) {
		remove = remove.DeepCopy() // the mark changes the version
		if err := e.disrupt(ctx, name, remove); err != nil {
			return err
		}
	}
	_, _, err := e.pods.Store.Delete(ctx, name, rest.ValidateAllObjectFunc, remove)
	return err
}

// disrupt says in the status of a pod that it is evicted. The preconditions of remove
// hold for that, too; its resourceVersion becomes the one that this leaves.
func (e Eviction) disrupt(ctx context.Context, name string, remove *metav1.DeleteOptions) error {
	said := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		pod, ok := old.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("evict a %T: not a pod", old)
		}
		if err := lifecycle.Precondition(pod, remove.Preconditions); err != nil {
			return nil, err
		}
		pod = pod.DeepCopy()
		pod.Status.Conditions = withCondition(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation,
			Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting", LastTransitionTime: metav1.NewTime(e.now()),
		})
		return pod, nil
	})
	pod, _, err := e.status.Update(ctx, name, said, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	if stored, ok := pod.(*corev1.Pod); ok && remove.Preconditions != nil && remove.Preconditions.ResourceVersion != nil {
		remove.Preconditions.ResourceVersion = &stored.ResourceVersion
	}
	return nil
}
