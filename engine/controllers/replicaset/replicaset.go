// Package replicaset maintains the number of pods that a ReplicaSet asks for.
//
// Decide and StatusOf are the pure core. All pods that one reconcile creates or
// deletes, and the status that counts them, are one transaction. If it is
// refused, the pods are created one by one, a few at first and then more and
// more, up to the first that is refused again: a quota is used completely.
package replicaset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"headway.dev/engine/admit"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const source = "replicaset-controller"

// maxBase is what a generated name leaves for the owner's name.
const maxBase = 58

type controller struct {
	control.Env
	pods *control.Index // by controller
	sets *control.Index // by controller
	// selecting are replica sets by selector, accounts by what their pods run as.
	selecting, accounts *control.Index
}

// New makes the controller.
func New(env control.Env) control.Controller {
	c := &controller{
		Env:  env,
		pods: env.Feed.Index("pods by controller", control.ByController, control.Pod),
		sets: env.Feed.Index("replica sets by controller", control.ByController, control.ReplicaSet),

		selecting: env.Feed.Index("replica sets by selector", control.BySelector(selectorOf), control.ReplicaSet),
		accounts:  env.Feed.Index("replica sets by account", byAccount, control.ReplicaSet),
	}
	return control.Controller{Name: "replicaset-controller", Workers: 4, Keys: c.keys, Reconcile: c.reconcile}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case control.ReplicaSet:
		if ev.Type != object.Deleted {
			add(ev.Key)
		}
	case control.ServiceAccount:
		// What failed for want of the account need not wait for its back-off.
		if ev.Type == object.Added {
			for _, key := range c.accounts.Keys(ev.Key.Namespace + "/" + ev.Key.Name) {
				add(key)
			}
		}
	case control.Pod:
		control.ControllerKeys(ev, control.ReplicaSet, add)
		control.AdopterKeys(ev, control.ReplicaSet, c.selecting, selectorOf, add)
	}
}

func selectorOf(obj object.Object) *metav1.LabelSelector {
	rs, ok := obj.(*appsv1.ReplicaSet)
	if !ok {
		return nil
	}
	return rs.Spec.Selector
}

// byAccount files replica sets under the account that their pods run with.
func byAccount(obj object.Object) []string {
	rs, ok := obj.(*appsv1.ReplicaSet)
	if !ok {
		return nil
	}
	return []string{rs.Namespace + "/" + cmp.Or(rs.Spec.Template.Spec.ServiceAccountName, admit.DefaultAccount)}
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	rs := control.Get[appsv1.ReplicaSet](c.Store, key)
	if rs == nil {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || selector.Empty() {
		return 0, nil //nolint:nilerr // validation refuses these; one that got in owns nothing
	}
	claims := control.Claim(rs, selector, c.pods.Get(string(rs.UID)), c.pods.Get(control.Orphans(rs.Namespace, rs.Spec.Selector)))
	if changes := claims.Changes(control.Pod, *reference(rs)); len(changes) > 0 {
		if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
			return 0, fmt.Errorf("adopt and release pods of %s: %w", key, err)
		}
		claims = control.Claim(rs, selector, c.pods.Get(string(rs.UID)), nil)
	}
	pods := asPods(claims.Owned)
	now := c.Now()
	var neighbours map[string]int
	if len(filter(pods, control.Active)) > desired(rs) {
		neighbours = c.neighbours(rs)
	}
	plan := Decide(rs, pods, neighbours, now)
	return plan.After, c.apply(ctx, key, rs, pods, plan, now)
}

func (c *controller) apply(ctx context.Context, key object.Key, rs *appsv1.ReplicaSet, pods []*corev1.Pod, plan Plan, now time.Time) error {
	var tx change.Tx
	after := append([]*corev1.Pod(nil), pods...)
	var created []string
	base := rs.Name + "-"
	if len(base) > maxBase {
		base = base[:maxBase]
	}
	for range plan.Create {
		pod := newPod(rs, base+rand.String(5))
		created = append(created, pod.Name)
		tx.Changes = append(tx.Changes, change.Create(pod, now))
		after = append(after, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: rs.Spec.Template.Labels}})
	}
	for _, pod := range plan.Delete {
		tx.Changes = append(tx.Changes, control.Guarded(change.Delete(object.KeyOf(control.Pod, pod), metav1.DeleteOptions{}, now), control.SameUID(pod.UID)))
		after = filter(after, func(p *corev1.Pod) bool { return p != pod })
	}
	if status := StatusOf(rs, after, nil, now); !same(rs.Status, status) {
		tx.Changes = append(tx.Changes, writeStatus(key, rs, status))
	}
	if _, err := c.Commit(ctx, tx); err != nil {
		if plan.Create > 1 && reportable(err) {
			created, err = c.slowStart(ctx, tx.Changes[:plan.Create])
			c.tellCreated(rs, created)
			if err == nil {
				return nil // the pods' events tell what to do next
			}
			pods = after[:len(pods)+len(created)]
		}
		return c.failed(ctx, key, rs, pods, plan, err)
	}
	c.tellCreated(rs, created)
	for _, pod := range plan.Delete {
		c.Events.Normal(source, rs, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	}
	return nil
}

// slowStart creates pods in batches that double as long as all goes well. It
// returns the names of those that were made, and why others were not.
func (c *controller) slowStart(ctx context.Context, creations []change.Change) (made []string, refusal error) {
	for size := 1; len(creations) > 0 && refusal == nil; size *= 2 {
		batch := creations[:min(size, len(creations))]
		creations = creations[len(batch):]
		for i, err := range c.CommitEach(ctx, batch) {
			if err != nil {
				refusal = err
				continue
			}
			made = append(made, batch[i].Key.Name)
		}
	}
	return made, refusal
}

func (c *controller) tellCreated(rs *appsv1.ReplicaSet, names []string) {
	for _, name := range names {
		c.Events.Normal(source, rs, "SuccessfulCreate", "Created pod: %s", name)
	}
}

// reportable reports whether a refusal is one that users should see.
func reportable(cause error) bool {
	return !errors.Is(cause, context.Canceled) && !apierrors.IsAlreadyExists(cause) && !apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause)
}

// failed reports why the pods could not be created or deleted.
func (c *controller) failed(ctx context.Context, key object.Key, rs *appsv1.ReplicaSet, pods []*corev1.Pod, plan Plan, cause error) error {
	if errors.Is(cause, context.Canceled) || apierrors.IsAlreadyExists(cause) {
		return cause // try again under another name
	}
	if apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause) {
		return nil // the replica set goes too
	}
	if plan.Create+len(plan.Delete) == 0 {
		return cause
	}
	reason, verb := "FailedCreate", "creating"
	if plan.Create == 0 {
		reason, verb = "FailedDelete", "deleting"
	}
	c.Events.Warning(source, rs, reason, "Error %s: %v", verb, cause)
	now := c.Now()
	failure := &appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: cause.Error(),
	}
	status := StatusOf(rs, pods, failure, now)
	if !same(rs.Status, status) {
		if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{writeStatus(key, rs, status)}}); err != nil {
			return errors.Join(cause, err)
		}
	}
	return cause
}

// neighbours counts the pods on each node of all replica sets that share the
// owner, so that a rollout does not thin out one node.
func (c *controller) neighbours(rs *appsv1.ReplicaSet) map[string]int {
	related := []object.Object{rs}
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
		related = c.sets.Get(string(ref.UID))
	}
	counts := map[string]int{}
	for _, r := range related {
		for _, pod := range asPods(c.pods.Get(string(r.GetUID()))) {
			if control.Active(pod) {
				counts[pod.Spec.NodeName]++
			}
		}
	}
	return counts
}

func writeStatus(key object.Key, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) change.Change {
	return control.Guarded(change.PatchStatus(key, func(obj object.Object) bool {
		obj.(*appsv1.ReplicaSet).Status = status
		return true
	}), control.SameUID(rs.UID))
}

func same(a, b appsv1.ReplicaSetStatus) bool { return apiequality.Semantic.DeepEqual(a, b) }

func asPods(objs []object.Object) []*corev1.Pod {
	pods := make([]*corev1.Pod, 0, len(objs))
	for _, o := range objs {
		if pod, ok := o.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods
}
