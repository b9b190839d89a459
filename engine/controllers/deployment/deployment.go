package deployment

import (
	"context"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const source = "deployment-controller"

type controller struct {
	control.Env
	sets *control.Index // replica sets by controller
	pods *control.Index // pods by controller
	// selecting are deployments by selector.
	selecting *control.Index
}

// New makes the controller.
func New(env control.Env) control.Controller {
	c := &controller{
		Env:  env,
		sets: env.Feed.Index("replica sets by controller", control.ByController, control.ReplicaSet),
		pods: env.Feed.Index("pods by controller", control.ByController, control.Pod),

		selecting: env.Feed.Index("deployments by selector", control.BySelector(control.SelectorOf), control.Deployment),
	}
	return control.Controller{Name: "deployment-controller", Workers: 4, Keys: c.keys, Reconcile: c.reconcile}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case control.Deployment:
		if ev.Type != object.Deleted {
			add(ev.Key)
		}
	case control.ReplicaSet:
		control.ControllerKeys(ev, control.Deployment, add)
		control.AdopterKeys(ev, control.Deployment, c.selecting, control.SelectorOf, add)
	case control.Pod:
		// Recreate waits for the old pods' end; the counts of ReplicaSets come
		// with the sets' own events.
		pod, ok := ev.Object.(*corev1.Pod)
		if !ok || ev.Type != object.Deleted && !control.Terminal(pod) {
			return
		}
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref == nil || ref.Kind != control.ReplicaSet.Kind {
			return
		}
		if rs := c.Store.Get(object.Key{GroupKind: control.ReplicaSet, Namespace: pod.Namespace, Name: ref.Name}); rs != nil {
			control.ControllerKeys(object.Event{Object: rs}, control.Deployment, add)
		}
	}
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	d := control.Get[appsv1.Deployment](c.Store, key)
	if d == nil {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return 0, nil //nolint:nilerr // validation refuses these; one that got in owns nothing
	}
	if selector.Empty() {
		c.Events.Warning(source, d, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		return 0, nil
	}
	claims := control.Claim(d, selector, c.sets.Get(string(d.UID)), c.sets.Get(control.Orphans(d.Namespace, d.Spec.Selector)))
	if changes := claims.Changes(control.ReplicaSet, *reference(d)); len(changes) > 0 {
		if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
			return 0, fmt.Errorf("adopt and release replica sets of %s: %w", key, err)
		}
		claims = control.Claim(d, selector, c.sets.Get(string(d.UID)), nil)
	}
	in := Input{Deployment: d, Now: c.Now(), Running: c.running}
	for _, obj := range claims.Owned {
		rs, ok := obj.(*appsv1.ReplicaSet)
		if !ok {
			continue
		}
		in.Sets = append(in.Sets, rs)
		in.Terminating += ptr.Deref(rs.Status.TerminatingReplicas, 0)
	}
	return c.apply(ctx, key, d, Decide(in), in.Now)
}

func (c *controller) running(rs *appsv1.ReplicaSet) bool {
	for _, obj := range c.pods.Get(string(rs.UID)) {
		if pod, ok := obj.(*corev1.Pod); ok && !control.Terminal(pod) {
			return true
		}
	}
	return false
}

// apply writes a plan as one transaction.
func (c *controller) apply(ctx context.Context, key object.Key, d *appsv1.Deployment, p Plan, now time.Time) (time.Duration, error) {
	var tx change.Tx
	if p.Create != nil {
		tx.Changes = append(tx.Changes, change.Create(p.Create, now))
	}
	for _, rs := range p.Update {
		tx.Changes = append(tx.Changes, control.Guarded(change.Patch(object.KeyOf(control.ReplicaSet, rs), func(obj object.Object) bool {
			stored := obj.(*appsv1.ReplicaSet)
			stored.Spec.Replicas, stored.Spec.MinReadySeconds = new(size(rs)), rs.Spec.MinReadySeconds
			if stored.Annotations == nil {
				stored.Annotations = map[string]string{}
			}
			maps.Copy(stored.Annotations, rs.Annotations)
			return true
		}), control.SameUID(rs.UID)))
	}
	for _, rs := range p.Delete {
		tx.Changes = append(tx.Changes, control.Guarded(change.Delete(object.KeyOf(control.ReplicaSet, rs), metav1.DeleteOptions{}, now), control.SameUID(rs.UID)))
	}
	if p.Revision != "" {
		tx.Changes = append(tx.Changes, control.Guarded(change.Patch(key, func(obj object.Object) bool {
			annotations := maps.Clone(obj.GetAnnotations())
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[revisionAnnotation] = p.Revision
			obj.SetAnnotations(annotations)
			return true
		}), control.SameUID(d.UID)))
	}
	if !apiequality.Semantic.DeepEqual(d.Status, p.Status) {
		tx.Changes = append(tx.Changes, c.writeStatus(key, d, p.Status))
	}
	_, err := c.Commit(ctx, tx)
	switch {
	case p.Create != nil && apierrors.IsAlreadyExists(err):
		return 0, c.collided(ctx, key, d, p.Create, err)
	case p.Create != nil && err != nil:
		return 0, c.refused(ctx, key, d, p.Create, err)
	case err != nil:
		return 0, fmt.Errorf("write the next step of %s: %w", key, err)
	}
	for _, message := range p.Scaled {
		c.Events.Normal(source, d, "ScalingReplicaSet", "%s", message)
	}
	return p.After, nil
}

// collided makes the next attempt use another name if the set of this name has
// another template or another owner. Otherwise it is the one that was to be
// made, which its event will tell of.
func (c *controller) collided(ctx context.Context, key object.Key, d *appsv1.Deployment, wanted *appsv1.ReplicaSet, cause error) error {
	there := control.Get[appsv1.ReplicaSet](c.Store, object.KeyOf(control.ReplicaSet, wanted))
	if there == nil {
		return cause // it went meanwhile
	}
	if metav1.IsControlledBy(there, d) && templateEqual(&d.Spec.Template, &there.Spec.Template) {
		return nil
	}
	status := *d.Status.DeepCopy()
	status.CollisionCount = new(ptr.Deref(status.CollisionCount, 0) + 1)
	if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{c.writeStatus(key, d, status)}}); err != nil {
		return fmt.Errorf("count a name collision of %s: %w", key, err)
	}
	return cause
}

// refused reports why a new set could not be created.
func (c *controller) refused(ctx context.Context, key object.Key, d *appsv1.Deployment, rs *appsv1.ReplicaSet, cause error) error {
	if apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause) {
		return nil // the Deployment goes too
	}
	if ctx.Err() != nil {
		return cause
	}
	const reason = "ReplicaSetCreateError"
	message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, cause)
	c.Events.Warning(source, d, reason, "%s", message)
	w := &work{Input: Input{Deployment: d, Now: c.Now()}, d: d, conditions: d.Status.DeepCopy().Conditions}
	w.setProgressing(corev1.ConditionFalse, reason, message)
	status := *d.Status.DeepCopy()
	status.Conditions = w.conditions
	if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{c.writeStatus(key, d, status)}}); err != nil {
		return fmt.Errorf("tell that %s failed: %w", key, err)
	}
	return cause
}

func (c *controller) writeStatus(key object.Key, d *appsv1.Deployment, status appsv1.DeploymentStatus) change.Change {
	return control.Guarded(change.PatchStatus(key, func(obj object.Object) bool {
		obj.(*appsv1.Deployment).Status = status
		return true
	}), control.SameUID(d.UID))
}
