// Package disruption keeps the status of every PodDisruptionBudget at what its pods
// allow. What asks to evict a pod (pods/eviction of engine/api/registry) takes from the
// number that is allowed, and this controller counts anew.
//
//	Pods, what scales them ─▶ Decide ─▶ PodDisruptionBudget.status
//	Pods with DisruptionTarget that nobody deletes ─▶ Stale ─▶ the condition is False
//
// Decide and Stale are the pure core. A status is written only over the one that was
// read, so that no eviction is forgotten that was allowed meanwhile.
package disruption

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

const source = "controllermanager"

type controller struct {
	control.Env
	pods    *control.Index // by label
	budgets *control.Index // by selector
}

// New makes the controller.
func New(env control.Env) control.Controller {
	c := &controller{
		Env:     env,
		pods:    env.Feed.Index("pods by label", control.ByLabel, control.Pod),
		budgets: env.Feed.Index("budgets by selector", bySelector, control.PodDisruptionBudget),
	}
	return control.Controller{Name: "disruption-controller", Workers: 2, Keys: c.keys, Reconcile: c.reconcile}
}

func selectorOf(obj object.Object) *metav1.LabelSelector {
	b, ok := obj.(*policyv1.PodDisruptionBudget)
	if !ok {
		return nil
	}
	return b.Spec.Selector
}

// bySelector leaves out budgets without a selector, which select nothing.
func bySelector(obj object.Object) []string {
	if selectorOf(obj) == nil {
		return nil
	}
	return control.BySelector(selectorOf)(obj)
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch obj := ev.Object.(type) {
	case *policyv1.PodDisruptionBudget:
		if ev.Type != object.Deleted {
			add(ev.Key)
		}
	case *corev1.Pod:
		c.podKeys(ev, obj, add)
	default:
		switch {
		case ev.Key.GroupKind == scheme.Definition:
			c.scaled("", add) // its kind may scale from now on
		case c.rescaled(ev):
			c.scaled(ev.Key.Namespace, add)
		}
	}
}

func (c *controller) podKeys(ev object.Event, pod *corev1.Pod, add func(object.Key)) {
	if _, says := Stale(pod, c.Now()); says && ev.Type != object.Deleted {
		add(ev.Key)
	}
	before, _ := ev.Old.(*corev1.Pod)
	if ev.Type == object.Modified && before != nil && alike(before, pod) {
		return
	}
	if before != nil {
		for _, b := range control.Selecting(before, c.budgets, selectorOf) {
			add(object.KeyOf(control.PodDisruptionBudget, b))
		}
	}
	found := control.Selecting(pod, c.budgets, selectorOf)
	for _, b := range found {
		add(object.KeyOf(control.PodDisruptionBudget, b))
	}
	if len(found) > 1 && ev.Type != object.Deleted {
		c.Events.Warning(source, pod, "MultiplePodDisruptionBudgets", "Pod %q/%q matches multiple PodDisruptionBudgets.  Chose %q arbitrarily.",
			pod.Namespace, pod.Name, found[0].GetName())
	}
}

// alike reports whether two states of a pod are the same to budgets.
func alike(a, b *corev1.Pod) bool {
	owner := func(p *corev1.Pod) metav1.OwnerReference {
		if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
			return *ref
		}
		return metav1.OwnerReference{}
	}
	return a.UID == b.UID && maps.Equal(a.Labels, b.Labels) && control.Ready(a) == control.Ready(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && owner(a).UID == owner(b).UID
}

// scaled adds the budgets of a namespace, of all if it is empty, that depend on what
// scales their pods.
func (c *controller) scaled(namespace string, add func(object.Key)) {
	budgets, _ := c.Store.List(control.PodDisruptionBudget, namespace)
	for _, obj := range budgets {
		b, ok := obj.(*policyv1.PodDisruptionBudget)
		if ok && (b.Spec.MaxUnavailable != nil || b.Spec.MinAvailable != nil && b.Spec.MinAvailable.Type == intstr.String) {
			add(object.KeyOf(control.PodDisruptionBudget, b))
		}
	}
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	if key.GroupKind == control.Pod {
		return c.calm(ctx, key)
	}
	b := control.Get[policyv1.PodDisruptionBudget](c.Store, key)
	if b == nil {
		return 0, nil
	}
	now := c.Now()
	pods, err := c.selected(b)
	var o Outcome
	if err != nil {
		c.Events.Warning(source, b, "NoPods", "Failed to get pods: %v", err)
		o = Outcome{Err: err, Status: failed(&b.Status, err, now)}
	} else {
		find := func(ref *metav1.OwnerReference) (*Scale, error) { return c.scaleOf(b.Namespace, ref) }
		o = Decide(b, pods, find, now)
		c.tell(b, pods, o)
	}
	if apiequality.Semantic.DeepEqual(b.Status, o.Status) {
		return o.After, nil
	}
	write := change.PatchStatus(key, func(obj object.Object) bool {
		obj.(*policyv1.PodDisruptionBudget).Status = o.Status
		return true
	})
	// Whoever has changed it has woken this controller again.
	seen := func(current object.Object) bool { return current.GetResourceVersion() == b.ResourceVersion }
	if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{control.Guarded(write, seen)}}); err != nil {
		return 0, fmt.Errorf("write the status of %s: %w", key, err)
	}
	return o.After, nil
}

// tell records the events about what was found.
func (c *controller) tell(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, o Outcome) {
	if len(pods) == 0 {
		c.Events.Normal(source, b, "NoPods", "No matching pods found")
	}
	if o.Err != nil {
		c.Events.Warning(source, b, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", o.Err)
	}
	if len(o.Unmanaged) > 0 {
		c.Events.Warning(source, b, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", b.Spec.Selector)
	}
	for _, pod := range o.Overdue {
		// Kubernetes has the namespace twice.
		c.Events.Warning(source, pod, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", b.Namespace, b.Namespace)
	}
}

// selected are the pods of a budget, in the order of their names.
func (c *controller) selected(b *policyv1.PodDisruptionBudget) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return nil, err
	}
	if b.Spec.Selector == nil {
		return nil, nil
	}
	var pods []*corev1.Pod
	for _, obj := range c.candidates(b) {
		pod, ok := obj.(*corev1.Pod)
		if ok && selector.Matches(labels.Set(pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

func (c *controller) candidates(b *policyv1.PodDisruptionBudget) []object.Object {
	match := b.Spec.Selector.MatchLabels
	if len(match) == 0 {
		pods, _ := c.Store.List(control.Pod, b.Namespace)
		return pods
	}
	key := slices.Min(slices.Collect(maps.Keys(match)))
	return c.pods.Get(control.Pair(b.Namespace, key, match[key]))
}

// calm takes back that a pod will be disrupted if it was not.
func (c *controller) calm(ctx context.Context, key object.Key) (time.Duration, error) {
	pod := control.Get[corev1.Pod](c.Store, key)
	if pod == nil {
		return 0, nil
	}
	after, says := Stale(pod, c.Now())
	if !says || after > 0 {
		return after, nil
	}
	_, err := c.Commit(ctx, change.Tx{Changes: []change.Change{control.Present(change.PatchStatus(key, func(obj object.Object) bool {
		current := obj.(*corev1.Pod)
		if after, says := Stale(current, c.Now()); !says || after > 0 {
			return false
		}
		current.Status.Conditions = calm(current, c.Now())
		return true
	}))}})
	if err != nil {
		return 0, fmt.Errorf("reset the DisruptionTarget condition of %s: %w", key, err)
	}
	return 0, nil
}
