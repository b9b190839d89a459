// Package replicaset maintains the number of pods that a ReplicaSet or a
// ReplicationController asks for. The latter is looked at as a ReplicaSet (form),
// which it is but for its selector and its status.
//
// Decide and StatusOf are the pure core. All pods that one reconcile creates or
// deletes, and the status that counts them, are one transaction. If it is
// refused, the pods are created one by one, a few at first and then more and
// more, up to the first that is refused again: a quota is used completely.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

type controller struct {
	control.Env
	form
	pods *control.Index // by controller
	sets *control.Index // by controller
	// selecting are replica sets by selector, accounts by what their pods run as.
	selecting, accounts *control.Index
	rest                *control.Rest
}

// New makes the controller of ReplicaSets.
func New(env control.Env) control.Controller { return newOf(env, replicaSets) }

// NewReplication makes the controller of ReplicationControllers.
func NewReplication(env control.Env) control.Controller { return newOf(env, replicationControllers) }

func newOf(env control.Env, f form) control.Controller {
	c := &controller{
		Env: env, form: f,
		pods: env.Feed.Index("pods by controller", control.ByController, control.Pod),
		sets: env.Feed.Index(f.plural+" by controller", control.ByController, f.kind),

		selecting: env.Feed.Index(f.plural+" by selector", control.BySelector(f.selector), f.kind),
		accounts:  env.Feed.Index(f.plural+" by account", control.ByAccount(f.podSpec), f.kind),
		rest:      control.NewRest(),
	}
	return control.Controller{Name: f.name, Workers: 4, Keys: c.keys, Reconcile: c.reconcile}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case c.kind:
		if ev.Type != object.Deleted {
			add(ev.Key)
		}
	case control.ServiceAccount:
		control.AccountKeys(ev, c.accounts, add)
	case control.Pod:
		control.ControllerKeys(ev, c.kind, add)
		control.AdopterKeys(ev, c.kind, c.selecting, c.selector, add)
	}
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	rs, ok := c.of(c.Store.Get(key))
	if !ok {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || selector.Empty() {
		return 0, nil //nolint:nilerr // validation refuses these; one that got in owns nothing
	}
	claims := control.Claim(rs.stored, selector, c.pods.Get(string(rs.UID)), c.pods.Get(control.Orphans(rs.Namespace, rs.Spec.Selector)))
	if changes := claims.Changes(control.Pod, *c.reference(rs)); len(changes) > 0 {
		if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
			return 0, fmt.Errorf("adopt and release pods of %s: %w", key, err)
		}
		claims = control.Claim(rs.stored, selector, c.pods.Get(string(rs.UID)), nil)
	}
	pods := asPods(claims.Owned)
	now := c.Now()
	var neighbours map[string]int
	if len(filter(pods, control.Active)) > desired(rs.ReplicaSet) {
		neighbours = c.neighbours(rs)
	}
	plan := Decide(rs.ReplicaSet, pods, neighbours, now)
	if left := c.rest.Left(key); left > 0 && plan.Create+len(plan.Delete) == 0 && underWay(rs.ReplicaSet, c.statusOf(rs, pods, nil, now)) {
		return left, nil
	}
	return plan.After, c.apply(ctx, key, rs, pods, plan, now)
}

// underWay reports whether all that a status tells is how many more pods are ready than
// before, while there are more to come.
func underWay(rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) bool {
	return status.AvailableReplicas < int32(desired(rs)) && //nolint:gosec // it was an int32
		status.ReadyReplicas >= rs.Status.ReadyReplicas && status.AvailableReplicas >= rs.Status.AvailableReplicas &&
		status.ObservedGeneration == rs.Status.ObservedGeneration && len(status.Conditions) == len(rs.Status.Conditions)
}

func (c *controller) apply(ctx context.Context, key object.Key, rs set, pods []*corev1.Pod, plan Plan, now time.Time) error {
	var tx change.Tx
	after := append([]*corev1.Pod(nil), pods...)
	var created []string
	for range plan.Create {
		pod := newPod(rs.ReplicaSet, *c.reference(rs), control.Generated(rs.Name))
		created = append(created, pod.Name)
		tx.Changes = append(tx.Changes, change.Create(pod, now))
		after = append(after, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: rs.Spec.Template.Labels}})
	}
	for _, pod := range plan.Delete {
		tx.Changes = append(tx.Changes, control.Guarded(change.Delete(object.KeyOf(control.Pod, pod), metav1.DeleteOptions{}, now), control.SameUID(pod.UID)))
		after = filter(after, func(p *corev1.Pod) bool { return p != pod })
	}
	if status := c.statusOf(rs, after, nil, now); !same(rs.Status, status) {
		tx.Changes = append(tx.Changes, c.writeStatus(key, rs, status))
	}
	began := time.Now()
	if _, err := c.Commit(ctx, tx); err != nil {
		if plan.Create > 1 && control.Reportable(err) {
			created, err = c.SlowStart(ctx, tx.Changes[:plan.Create])
			c.tellCreated(rs, created)
			if err == nil {
				return nil // the pods' events tell what to do next
			}
			pods = after[:len(pods)+len(created)]
		}
		return c.failed(ctx, key, rs, pods, plan, err)
	}
	if len(tx.Changes) > 0 {
		c.rest.Wrote(key, time.Since(began))
	}
	c.tellCreated(rs, created)
	for _, pod := range plan.Delete {
		c.Events.Normal(c.source, rs.stored, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	}
	return nil
}

func (c *controller) tellCreated(rs set, names []string) {
	for _, name := range names {
		c.Events.Normal(c.source, rs.stored, "SuccessfulCreate", "Created pod: %s", name)
	}
}

// failed reports why the pods could not be created or deleted.
func (c *controller) failed(ctx context.Context, key object.Key, rs set, pods []*corev1.Pod, plan Plan, cause error) error {
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
	c.Events.Warning(c.source, rs.stored, reason, "Error %s: %v", verb, cause)
	now := c.Now()
	failure := &appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: cause.Error(),
	}
	status := c.statusOf(rs, pods, failure, now)
	if !same(rs.Status, status) {
		if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{c.writeStatus(key, rs, status)}}); err != nil {
			return errors.Join(cause, err)
		}
	}
	return cause
}

// neighbours counts the pods on each node of all replica sets that share the
// owner, so that a rollout does not thin out one node.
func (c *controller) neighbours(rs set) map[string]int {
	related := []object.Object{rs.stored}
	if ref := metav1.GetControllerOfNoCopy(rs.stored); ref != nil {
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

func (c *controller) writeStatus(key object.Key, rs set, status appsv1.ReplicaSetStatus) change.Change {
	return control.Guarded(change.PatchStatus(key, func(obj object.Object) bool {
		c.setStatus(obj, status)
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
