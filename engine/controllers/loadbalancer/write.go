package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// part is what is done about one Service.
type part struct {
	svc     *corev1.Service
	changes []change.Change
	// problem is why it gets no address.
	problem string
	// released says that the changes take from it what it had.
	released bool
}

// commit writes, and tells what it has written and what nobody gets. One Service that
// cannot be written does not keep the others from it.
func (c *controller) commit(ctx context.Context, parts []part) error {
	wanting := map[types.NamespacedName]bool{}
	var changes [][]change.Change
	var writing []part
	for _, p := range parts {
		wanting[nameOf(p.svc)] = true
		if len(p.changes) > 0 {
			changes, writing = append(changes, p.changes), append(writing, p)
			continue
		}
		c.tell(p, false)
	}
	maps.DeleteFunc(c.told, func(name types.NamespacedName, _ string) bool { return !wanting[name] })
	if len(changes) == 0 {
		return nil
	}
	var errs []error
	for i, err := range c.CommitParts(ctx, changes) {
		if err != nil {
			errs = append(errs, fmt.Errorf("write addresses of the load balancer %s: %w", nameOf(writing[i].svc), err))
			continue
		}
		c.tell(writing[i], true)
	}
	return errors.Join(errs...)
}

// tell makes the events of Kubernetes' service controller.
func (c *controller) tell(p part, written bool) {
	name := nameOf(p.svc)
	news := c.told[name] != p.problem
	c.told[name] = p.problem
	switch {
	case p.released:
		c.Events.Normal(source, p.svc, "DeletedLoadBalancer", "Deleted load balancer")
	case p.problem != "" && news:
		c.Events.Warning(source, p.svc, "SyncLoadBalancerFailed", "Error syncing load balancer: %s", p.problem)
	case p.problem == "" && written:
		c.Events.Normal(source, p.svc, "EnsuredLoadBalancer", "Ensured load balancer")
	}
}

// write is what makes a Service have its outcome: the finalizer before the address.
func write(svc *corev1.Service, got Outcome) part {
	at := object.KeyOf(control.Service, svc)
	out := part{svc: svc, problem: got.Problem}
	if svc.Annotations[Annotation] != got.By || !ours(svc) || !slices.Contains(svc.Finalizers, finalizer) {
		out.changes = append(out.changes, control.Present(change.Patch(at, func(obj object.Object) bool {
			s := obj.(*corev1.Service)
			if s.UID != svc.UID || !wants(s) {
				return false
			}
			if s.Annotations == nil {
				s.Annotations = map[string]string{}
			}
			s.Annotations[Annotation] = got.By
			if !slices.Contains(s.Finalizers, finalizer) {
				s.Finalizers = append(s.Finalizers, finalizer)
			}
			return true
		})))
	}
	var want []corev1.LoadBalancerIngress
	for _, ip := range got.IPs {
		in := corev1.LoadBalancerIngress{IP: ip.String(), IPMode: ptr.To(corev1.LoadBalancerIPModeVIP)}
		for _, p := range got.Ports {
			in.Ports = append(in.Ports, corev1.PortStatus{Port: p.Number, Protocol: p.Protocol})
		}
		want = append(want, in)
	}
	equal := func(a, b corev1.LoadBalancerIngress) bool {
		return a.IP == b.IP && a.Hostname == b.Hostname && ptr.Deref(a.IPMode, "") == ptr.Deref(b.IPMode, "") && slices.Equal(a.Ports, b.Ports)
	}
	if !slices.EqualFunc(svc.Status.LoadBalancer.Ingress, want, equal) {
		out.changes = append(out.changes, control.Present(change.PatchStatus(at, func(obj object.Object) bool {
			s := obj.(*corev1.Service)
			if s.UID != svc.UID || !wants(s) {
				return false
			}
			s.Status.LoadBalancer.Ingress = want
			return true
		})))
	}
	return out
}

// release takes back what a Service has had, and lets it go. One that is another
// controller's keeps its addresses: they are from there.
func release(svc *corev1.Service, still func(*corev1.Service) bool) part {
	at := object.KeyOf(control.Service, svc)
	out := part{svc: svc, released: true}
	if len(svc.Status.LoadBalancer.Ingress) > 0 && !foreign(svc) {
		out.changes = append(out.changes, control.Present(change.PatchStatus(at, func(obj object.Object) bool {
			s := obj.(*corev1.Service)
			if s.UID != svc.UID || !still(s) || foreign(s) {
				return false
			}
			s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
			return true
		})))
	}
	if ours(svc) || slices.Contains(svc.Finalizers, finalizer) {
		out.changes = append(out.changes, control.Present(change.Patch(at, func(obj object.Object) bool {
			s := obj.(*corev1.Service)
			if s.UID != svc.UID || !still(s) {
				return false
			}
			delete(s.Annotations, Annotation)
			s.Finalizers = slices.DeleteFunc(s.Finalizers, func(f string) bool { return f == finalizer })
			return true
		})))
	}
	return out
}

// NewRelease makes what runs in place of the controller when it is switched off: Services
// that it has given something, by the annotation, are released, and are then another's.
func NewRelease(env control.Env) control.Controller {
	c := &controller{Env: env, told: map[types.NamespacedName]string{}}
	return control.Controller{Name: "service-lb-release", Keys: func(ev object.Event, add func(object.Key)) {
		if svc, ok := ev.Object.(*corev1.Service); ok && ev.Type != object.Deleted && ours(svc) {
			add(ev.Key)
		}
	}, Workers: 1, Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
		svc := control.Get[corev1.Service](c.Store, key)
		if svc == nil || !ours(svc) {
			return 0, nil
		}
		return 0, c.commit(ctx, []part{release(svc, ours)})
	}}
}
