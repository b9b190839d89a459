package endpoints

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	netutils "k8s.io/utils/net"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const (
	mirroredBy   = "endpointslicemirroring-controller.k8s.io"
	mirrorSource = "endpoint-slice-mirroring-controller"
	// perSubset is how many addresses with the same ports are copied at most.
	perSubset = 1000
)

type mirror struct {
	control.Env
	slices *control.Index // mirrored ones, by Endpoints
}

// NewMirror returns the controller that copies the Endpoints objects which
// users maintain for Services without a selector into slices, because proxies
// read only slices.
func NewMirror(env control.Env) control.Controller {
	c := &mirror{Env: env, slices: env.Feed.Index("mirrored slices", byMirrored, control.EndpointSlice)}
	return control.Controller{Name: "endpointslice-mirroring-controller", Keys: c.keys, Reconcile: c.reconcile}
}

func byMirrored(obj object.Object) []string {
	if obj.GetLabels()[discoveryv1.LabelManagedBy] == mirroredBy {
		return []string{obj.GetNamespace() + "/" + obj.GetLabels()[discoveryv1.LabelServiceName]}
	}
	return nil
}

func (c *mirror) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case control.Service:
		// What the endpoints controller keeps is no concern of this one, unless
		// it was before.
		if svc, ok := ev.Object.(*corev1.Service); ok && len(svc.Spec.Selector) > 0 && c.slices.Len(svc.Namespace+"/"+svc.Name) == 0 {
			return
		}
		add(serviceKey(ev.Key.Namespace, ev.Key.Name))
	case control.Endpoints:
		if mirrored(ev.Object) || c.slices.Len(ev.Key.Namespace+"/"+ev.Key.Name) > 0 {
			add(serviceKey(ev.Key.Namespace, ev.Key.Name))
		}
	case control.EndpointSlice:
		if len(byMirrored(ev.Object)) > 0 {
			add(serviceKey(ev.Key.Namespace, ev.Object.GetLabels()[discoveryv1.LabelServiceName]))
		}
	}
}

// mirrored reports whether an Endpoints object asks for slices.
func mirrored(obj object.Object) bool {
	labels := obj.GetLabels()
	_, leader := obj.GetAnnotations()["control-plane.alpha.kubernetes.io/leader"]
	return labels[discoveryv1.LabelSkipMirror] != "true" && labels[objectManagedBy] != objectManagedByValue && !leader
}

func (c *mirror) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	svc := control.Get[corev1.Service](c.Store, key)
	ep := control.Get[corev1.Endpoints](c.Store, object.Key{GroupKind: control.Endpoints, Namespace: key.Namespace, Name: key.Name})
	var existing []*discoveryv1.EndpointSlice
	for _, obj := range c.slices.Get(key.Namespace + "/" + key.Name) {
		if s, ok := obj.(*discoveryv1.EndpointSlice); ok && s.DeletionTimestamp == nil {
			existing = append(existing, s)
		}
	}
	var plan SlicePlan
	if svc != nil && len(svc.Spec.Selector) == 0 && ep != nil && ep.DeletionTimestamp == nil && mirrored(ep) {
		var invalid, skipped int
		plan, invalid, skipped = decideMirror(ep, existing)
		if invalid > 0 {
			c.Events.Warning(mirrorSource, ep, "InvalidIPAddress", "Skipped %d invalid IP addresses when mirroring to EndpointSlices", invalid)
		}
		if skipped > invalid {
			c.Events.Warning(mirrorSource, ep, "TooManyAddressesToMirror",
				"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", perSubset, skipped)
		}
	} else {
		plan.Delete = existing
	}
	tx := change.Tx{Changes: plan.changes(c.Now())}
	if _, err := c.Commit(ctx, tx); err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return 0, nil // the Endpoints go too
		}
		return 0, fmt.Errorf("mirror endpoints of %s: %w", key, err)
	}
	return 0, nil
}

// decideMirror makes the mirrored slices agree with an Endpoints object. It returns how
// many addresses are none, and how many are left out, those included.
func decideMirror(ep *corev1.Endpoints, existing []*discoveryv1.EndpointSlice) (plan SlicePlan, invalid, skipped int) {
	labels := map[string]string{}
	maps.Copy(labels, ep.Labels)
	labels[discoveryv1.LabelServiceName] = ep.Name
	labels[discoveryv1.LabelManagedBy] = mirroredBy
	annotations := map[string]string{}
	maps.Copy(annotations, ep.Annotations)
	delete(annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	found, room := groups{byKey: map[string]*group{}}, map[string]int{}
	for _, subset := range ep.Subsets {
		ports := []discoveryv1.EndpointPort{}
		for _, p := range subset.Ports {
			ports = append(ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: new(p.Port), Protocol: new(p.Protocol), AppProtocol: p.AppProtocol})
		}
		key := groupKey("", ports)
		if _, known := room[key]; !known {
			room[key] = perSubset
		}
		add := func(a corev1.EndpointAddress, ready bool) {
			ip := netutils.ParseIPSloppy(a.IP)
			if ip == nil {
				invalid++
				skipped++
				return
			}
			family := discoveryv1.AddressTypeIPv4
			if ip.To4() == nil {
				family = discoveryv1.AddressTypeIPv6
			}
			e := discoveryv1.Endpoint{Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(ready)}, TargetRef: a.TargetRef, NodeName: a.NodeName}
			if a.Hostname != "" {
				e.Hostname = new(a.Hostname)
			}
			found.of(family, ports).add(e)
		}
		// Those that are ready have the room first, and the last word.
		ready := min(room[key], len(subset.Addresses))
		waiting := min(room[key]-ready, len(subset.NotReadyAddresses))
		room[key] -= ready + waiting
		skipped += len(subset.Addresses) - ready + len(subset.NotReadyAddresses) - waiting
		for _, a := range subset.NotReadyAddresses[:waiting] {
			add(a, false)
		}
		for _, a := range subset.Addresses[:ready] {
			add(a, true)
		}
	}
	plan = decide(metav1.ObjectMeta{
		Namespace: ep.Namespace, GenerateName: ep.Name + "-", Labels: labels, Annotations: annotations,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(ep, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
	}, found.list, existing)
	return plan, invalid, skipped
}
