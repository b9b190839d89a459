// Package endpoints keeps the EndpointSlices and the Endpoints object of every
// Service with a selector at what its pods are.
//
// DecideSlices and DecideObject are the pure cores. Both results are one
// transaction, so that all proxies change their rules once.
package endpoints

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const source = "endpoint-slice-controller"

type controller struct {
	control.Env
	pods     *control.Index // by label
	services *control.Index // by one label of the selector
	slices   *control.Index // by service
}

// New makes the controller.
func New(env control.Env) control.Controller {
	c := &controller{
		Env:      env,
		pods:     env.Feed.Index("pods by label", control.ByLabel, control.Pod),
		services: env.Feed.Index("services by selector", bySelector, control.Service),
		slices:   env.Feed.Index("endpoint slices by service", byService, control.EndpointSlice),
	}
	return control.Controller{Name: "endpointslice-controller", Workers: 2, Keys: c.keys, Reconcile: c.reconcile}
}

// bySelector files a Service under one pair of its selector: pods that it
// selects have that pair too.
func bySelector(obj object.Object) []string {
	svc, ok := obj.(*corev1.Service)
	if !ok || len(svc.Spec.Selector) == 0 {
		return nil
	}
	key := slices.Min(slices.Collect(maps.Keys(svc.Spec.Selector)))
	return []string{control.Pair(svc.Namespace, key, svc.Spec.Selector[key])}
}

func byService(obj object.Object) []string {
	if name := obj.GetLabels()[discoveryv1.LabelServiceName]; name != "" && obj.GetLabels()[discoveryv1.LabelManagedBy] == managedBy {
		return []string{obj.GetNamespace() + "/" + name}
	}
	return nil
}

func serviceKey(namespace, name string) object.Key {
	return object.Key{GroupKind: control.Service, Namespace: namespace, Name: name}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case control.Service:
		add(ev.Key)
	case control.Endpoints:
		if ev.Object.GetLabels()[objectManagedBy] == objectManagedByValue {
			add(serviceKey(ev.Key.Namespace, ev.Key.Name))
		}
	case control.EndpointSlice:
		if len(byService(ev.Object)) > 0 {
			add(serviceKey(ev.Key.Namespace, ev.Object.GetLabels()[discoveryv1.LabelServiceName]))
		}
	case control.Pod:
		before, _ := ev.Old.(*corev1.Pod)
		after, _ := ev.Object.(*corev1.Pod)
		if ev.Type == object.Modified && before != nil && after != nil && sameEndpoint(before, after) {
			return
		}
		for _, pod := range []*corev1.Pod{before, after} {
			if pod != nil {
				c.selecting(pod, add)
			}
		}
	}
}

// selecting adds the Services that select the pod.
func (c *controller) selecting(pod *corev1.Pod, add func(object.Key)) {
	for k, v := range pod.Labels {
		for _, obj := range c.services.Get(control.Pair(pod.Namespace, k, v)) {
			svc, ok := obj.(*corev1.Service)
			if ok && labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(pod.Labels)) {
				add(serviceKey(svc.Namespace, svc.Name))
			}
		}
	}
}

// sameEndpoint reports whether two states of a pod give the same endpoint.
func sameEndpoint(a, b *corev1.Pod) bool {
	return a.UID == b.UID && maps.Equal(a.Labels, b.Labels) && control.Ready(a) == control.Ready(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && control.Terminal(a) == control.Terminal(b) &&
		a.Spec.NodeName == b.Spec.NodeName && a.Status.PodIP == b.Status.PodIP && slices.Equal(a.Status.PodIPs, b.Status.PodIPs) &&
		a.Spec.Hostname == b.Spec.Hostname && a.Spec.Subdomain == b.Spec.Subdomain
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	svc := control.Get[corev1.Service](c.Store, key)
	existing := c.existing(key)
	current := control.Get[corev1.Endpoints](c.Store, object.Key{GroupKind: control.Endpoints, Namespace: key.Namespace, Name: key.Name})
	now := c.Now()
	var tx change.Tx
	switch {
	case svc == nil:
		for _, s := range existing {
			tx.Changes = append(tx.Changes, remove(control.EndpointSlice, s, now))
		}
		if current != nil && current.Labels[objectManagedBy] == objectManagedByValue {
			tx.Changes = append(tx.Changes, remove(control.Endpoints, current, now))
		}
	case len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName || svc.DeletionTimestamp != nil:
		return 0, nil // without a selector, the endpoints are somebody else's
	default:
		pods := c.selected(svc)
		tx.Changes = append(tx.Changes, DecideSlices(svc, pods, existing, c.zone).changes(now)...)
		if next := DecideObject(svc, pods, current); next != nil {
			tx.Changes = append(tx.Changes, writeObject(next, current, now))
		}
	}
	if _, err := c.Commit(ctx, tx); err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return 0, nil // the Service goes too
		}
		if svc != nil && ctx.Err() == nil && !apierrors.IsAlreadyExists(err) {
			c.Events.Warning(source, svc, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", svc.Namespace, svc.Name, err)
		}
		return 0, fmt.Errorf("write endpoints of %s: %w", key, err)
	}
	return 0, nil
}

// changes are those that carry the plan out.
func (p SlicePlan) changes(now time.Time) []change.Change {
	var changes []change.Change
	for _, s := range p.Create {
		s.Name = s.GenerateName + rand.String(5)
		changes = append(changes, change.Create(s, now))
	}
	for _, s := range p.Update {
		changes = append(changes, update(s))
	}
	for _, s := range p.Delete {
		changes = append(changes, remove(control.EndpointSlice, s, now))
	}
	return changes
}

func update(s *discoveryv1.EndpointSlice) change.Change {
	return control.Present(change.Patch(object.KeyOf(control.EndpointSlice, s), func(obj object.Object) bool {
		stored := obj.(*discoveryv1.EndpointSlice)
		stored.Labels, stored.Endpoints = s.Labels, s.Endpoints
		if s.Labels[discoveryv1.LabelManagedBy] == mirroredBy {
			stored.Annotations = s.Annotations
		}
		return true
	}))
}

func writeObject(next, current *corev1.Endpoints, now time.Time) change.Change {
	if current == nil {
		return change.Create(next, now)
	}
	return control.Present(change.Patch(object.KeyOf(control.Endpoints, next), func(obj object.Object) bool {
		stored := obj.(*corev1.Endpoints)
		if apiequality.Semantic.DeepEqual(stored.Subsets, next.Subsets) && maps.Equal(stored.Labels, next.Labels) && maps.Equal(stored.Annotations, next.Annotations) {
			return false
		}
		stored.Labels, stored.Annotations, stored.Subsets = next.Labels, next.Annotations, next.Subsets
		return true
	}))
}

func (c *controller) existing(svc object.Key) []*discoveryv1.EndpointSlice {
	var found []*discoveryv1.EndpointSlice
	for _, obj := range c.slices.Get(svc.Namespace + "/" + svc.Name) {
		if s, ok := obj.(*discoveryv1.EndpointSlice); ok && s.DeletionTimestamp == nil {
			found = append(found, s)
		}
	}
	return found
}

// selected finds the Service's pods by the rarest pair of its selector.
func (c *controller) selected(svc *corev1.Service) []*corev1.Pod {
	best, fewest := "", -1
	for k, v := range svc.Spec.Selector {
		p := control.Pair(svc.Namespace, k, v)
		if n := c.pods.Len(p); fewest < 0 || n < fewest {
			best, fewest = p, n
		}
	}
	selector := labels.SelectorFromSet(svc.Spec.Selector)
	var found []*corev1.Pod
	for _, obj := range c.pods.Get(best) {
		if pod, ok := obj.(*corev1.Pod); ok && selector.Matches(labels.Set(pod.Labels)) {
			found = append(found, pod)
		}
	}
	return found
}

func (c *controller) zone(node string) string {
	n := control.Get[corev1.Node](c.Store, object.Key{GroupKind: control.Node, Name: node})
	if n == nil {
		return ""
	}
	return n.Labels[corev1.LabelTopologyZone]
}

func remove(kind schema.GroupKind, obj object.Object, now time.Time) change.Change {
	return control.Guarded(change.Delete(object.KeyOf(kind, obj), metav1.DeleteOptions{}, now), control.SameUID(obj.GetUID()))
}
