// Package resourcequota keeps true what ResourceQuotas say is used. The store
// counts each change as it is made (engine/admit); what else happens is up to this
// controller: pods that are being deleted count until their time is over, and
// somebody may write a status.
package resourcequota

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/quota"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// defaultSync is kube-controller-manager's.
const defaultSync = 5 * time.Minute

// between is the least time between two calculations of one quota: each charge
// changes it.
const between = time.Second

type controller struct {
	control.Env
	quotas quota.Quotas
	sync   time.Duration
	// last is when each quota was calculated, and of which spec.
	last sync.Map
}

type calculated struct {
	at   time.Time
	spec *corev1.ResourceQuotaSpec
}

// New makes the controller. sync is how often quotas are calculated anew, 0 for
// Kubernetes' default.
func New(env control.Env, sync time.Duration) control.Controller {
	c := &controller{Env: env, quotas: quota.Quotas{Kinds: env.Kinds, Now: env.Now}, sync: cmp.Or(sync, defaultSync)}
	return control.Controller{Name: "resourcequota-controller", Workers: 2, Keys: c.keys, Reconcile: c.reconcile}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch obj := ev.Object.(type) {
	case *corev1.ResourceQuota:
		if ev.Type != object.Deleted {
			add(ev.Key)
		}
	case *apiextensionsv1.CustomResourceDefinition:
		// What it defines is counted from now on, or no longer.
		quotas, _ := c.Store.List(quota.Kind, "")
		for _, obj := range quotas {
			q, ok := obj.(*corev1.ResourceQuota)
			if _, counts := q.Spec.Hard[corev1.ResourceName("count/"+ev.Key.Name)]; ok && counts {
				c.last.Delete(object.KeyOf(quota.Kind, q))
				add(object.KeyOf(quota.Kind, q))
			}
		}
	case *corev1.Pod:
		if ev.Type != object.Modified || obj.DeletionTimestamp == nil || ev.Old == nil || ev.Old.GetDeletionTimestamp() != nil {
			return
		}
		for _, q := range quota.Of(c.Store, obj.Namespace) {
			add(object.KeyOf(quota.Kind, q))
		}
	}
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	q := control.Get[corev1.ResourceQuota](c.Store, key)
	if q == nil {
		c.last.Delete(key)
		return 0, nil
	}
	now := c.Now()
	if was, ok := c.last.Load(key); ok {
		if was := was.(calculated); now.Sub(was.at) < between && equality.Semantic.DeepEqual(*was.spec, q.Spec) {
			return was.at.Add(between).Sub(now), nil
		}
	}
	c.last.Store(key, calculated{now, &q.Spec})
	// Whatever is charged after this has changed the quota, so that it is not
	// written over.
	is := c.quotas.Recalculate(c.Store, q)
	if !equality.Semantic.DeepEqual(is.Status, q.Status) {
		write := change.PatchStatus(key, func(obj object.Object) bool {
			obj.(*corev1.ResourceQuota).Status = is.Status
			return true
		})
		seen := func(current object.Object) bool { return current.GetResourceVersion() == q.ResourceVersion }
		if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{control.Guarded(write, seen)}}); err != nil {
			return 0, fmt.Errorf("write the status of %s: %w", key, err)
		}
	}
	return c.next(key.Namespace), nil
}

// next is when the quotas of a namespace may change by themselves: when a pod that
// is being deleted counts no longer.
func (c *controller) next(namespace string) time.Duration {
	wait, now := c.sync, c.Now()
	pods, _ := c.Store.List(control.Pod, namespace)
	for _, obj := range pods {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			continue
		}
		if end, dying := quota.Expires(pod); dying && !now.After(end) {
			wait = min(wait, end.Sub(now)+time.Millisecond)
		}
	}
	return wait
}
