package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
)

const (
	evictionSource = "taint-eviction-controller"
	// usualTolerance is how long a pod stays on a node that is not ready or
	// not reachable if it says nothing about that, as Kubernetes' admission
	// has it.
	usualTolerance = 5 * time.Minute
)

// Evict tells after which time a pod has to leave a node with these taints:
// 0 is at once. stays says that it never has to.
func Evict(pod *corev1.Pod, taints []corev1.Taint, now time.Time) (after time.Duration, stays bool) {
	stays = true
	for i := range taints {
		t := &taints[i]
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		limit, bounded := tolerance(pod, t)
		if !bounded {
			continue
		}
		since := now
		if t.TimeAdded != nil {
			since = t.TimeAdded.Time
		}
		// A pod that came after the taint has its time from then on.
		if pod.Status.StartTime != nil && pod.Status.StartTime.After(since) {
			since = pod.Status.StartTime.Time
		}
		left := max(0, since.Add(limit).Sub(now))
		if stays || left < after {
			after, stays = left, false
		}
	}
	return after, stays
}

// tolerance is for how long the pod bears a taint; bounded is false if that is
// for ever.
func tolerance(pod *corev1.Pod, t *corev1.Taint) (limit time.Duration, bounded bool) {
	bounded = true
	found := false
	for i := range pod.Spec.Tolerations {
		tol := &pod.Spec.Tolerations[i]
		if !tol.ToleratesTaint(logr.Discard(), t, false) {
			continue
		}
		if tol.TolerationSeconds == nil {
			if !found {
				bounded = false
			}
			continue
		}
		if l := time.Duration(max(0, *tol.TolerationSeconds)) * time.Second; !found || l < limit {
			limit = l
		}
		found, bounded = true, true
	}
	if !found && bounded && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable) {
		limit = usualTolerance
	}
	return limit, bounded
}

type eviction struct {
	control.Env
	pods *control.Index
}

// NewEviction makes the taint-eviction controller.
func NewEviction(env control.Env) control.Controller {
	c := &eviction{env, podsByNode(env)}
	return control.Controller{Name: "taint-eviction-controller", Keys: c.keys, Reconcile: c.reconcile}
}

func (c *eviction) keys(ev object.Event, add func(object.Key)) {
	switch obj := ev.Object.(type) {
	case *corev1.Node:
		if ev.Type != object.Deleted && executes(obj) {
			add(ev.Key)
		}
	case *corev1.Pod:
		if ev.Type == object.Deleted || obj.Spec.NodeName == "" || obj.DeletionTimestamp != nil {
			return
		}
		if before, ok := ev.Old.(*corev1.Pod); ok && before.Spec.NodeName == obj.Spec.NodeName && before.Generation == obj.Generation {
			return
		}
		key := nodeKey(obj.Spec.NodeName)
		if node := control.Get[corev1.Node](c.Store, key); node != nil && executes(node) {
			add(key)
		}
	}
}

func executes(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute })
}

func (c *eviction) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	node := control.Get[corev1.Node](c.Store, key)
	if node == nil || !executes(node) {
		return 0, nil
	}
	now := c.Now()
	var next time.Duration
	var tx change.Tx
	var evicted []*corev1.Pod
	for _, obj := range c.pods.Get(key.Name) {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.DeletionTimestamp != nil {
			continue
		}
		after, stays := Evict(pod, node.Spec.Taints, now)
		switch {
		case stays:
		case after > 0:
			if next == 0 || after < next {
				next = after
			}
		default:
			evicted = append(evicted, pod)
			tx.Changes = append(tx.Changes, disrupt(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", now),
				control.Guarded(change.Delete(control.KeyOf(control.Pod, pod), metav1.DeleteOptions{}, now), control.SameUID(pod.UID)))
		}
	}
	if _, err := c.Commit(ctx, tx); err != nil {
		return 0, fmt.Errorf("evict pods from %s: %w", key, err)
	}
	for _, pod := range evicted {
		c.Events.Normal(evictionSource, pod, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	}
	return next, nil
}

// disrupt says in the pod's status who deletes it, and why.
func disrupt(pod *corev1.Pod, reason, message string, now time.Time) change.Change {
	return control.Guarded(change.PatchStatus(control.KeyOf(control.Pod, pod), func(obj object.Object) bool {
		stored := obj.(*corev1.Pod)
		if stored.DeletionTimestamp != nil {
			return false
		}
		stored.Status.Conditions = append(slices.DeleteFunc(stored.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget }),
			corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: message,
				ObservedGeneration: stored.Generation, LastTransitionTime: metav1.NewTime(now),
			})
		return true
	}), control.SameUID(pod.UID))
}
