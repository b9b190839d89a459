package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const evictionSource = "taint-eviction-controller"

// Evict returns the time after which a pod has to leave a node with these
// taints: 0 is at once. stays reports whether it may stay for ever.
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

// tolerance is for how long the pod bears a taint, by the first toleration that is for
// it; bounded is false if that is for ever.
func tolerance(pod *corev1.Pod, t *corev1.Taint) (limit time.Duration, bounded bool) {
	for i := range pod.Spec.Tolerations {
		tol := &pod.Spec.Tolerations[i]
		switch {
		case !tol.ToleratesTaint(logr.Discard(), t, false):
		case tol.TolerationSeconds == nil:
			return 0, false
		default:
			return max(0, loop.Seconds(*tol.TolerationSeconds)), true
		}
	}
	return 0, true
}

type eviction struct {
	control.Env
	pulse *Pulse
	pods  *control.Index
	// since is when a taint was first seen that does not say since when it is
	// there, as those that users set. Owned by the one worker, as due.
	since map[string]firstSeen
	// due are the pods of each node that have to leave it later.
	due map[string]map[types.UID]bool
}

// firstSeen is when the undated taints of a node were first seen.
type firstSeen struct {
	uid types.UID
	at  map[corev1.Taint]time.Time
}

// NewEviction makes the taint-eviction controller.
func NewEviction(env control.Env, pulse *Pulse) control.Controller {
	c := &eviction{env, pulse, podsByNode(env), map[string]firstSeen{}, map[string]map[types.UID]bool{}}
	return control.Controller{Name: "taint-eviction-controller", Keys: c.keys, Reconcile: c.reconcile}
}

func (c *eviction) keys(ev object.Event, add func(object.Key)) {
	switch obj := ev.Object.(type) {
	case *corev1.Node:
		before, _ := ev.Old.(*corev1.Node)
		if ev.Type != object.Deleted && executes(obj) || before != nil && executes(before) {
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
	now := c.Now()
	taints := c.dated(key.Name, node, now)
	due, before := map[types.UID]bool{}, c.due[key.Name]
	delete(c.due, key.Name)
	if node == nil || len(taints) == 0 && len(before) == 0 {
		return 0, nil
	}
	left := c.pulse.left(now)
	var next time.Duration
	var parts [][]change.Change
	var evicted []*corev1.Pod
	for _, obj := range c.pods.Get(key.Name) {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.DeletionTimestamp != nil {
			continue
		}
		after, stays := evictAfterPause(pod, taints, left, now)
		switch {
		case stays:
			if before[pod.UID] {
				c.Events.Normal(evictionSource, pod, "TaintManagerEviction", "Cancelling deletion of Pod %s/%s", pod.Namespace, pod.Name)
			}
		case after > 0:
			due[pod.UID] = true
			if next == 0 || after < next {
				next = after
			}
		default:
			evicted = append(evicted, pod)
			parts = append(parts, []change.Change{
				disrupt(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", now),
				control.Guarded(change.Delete(object.KeyOf(control.Pod, pod), metav1.DeleteOptions{}, now), control.SameUID(pod.UID)),
			})
		}
	}
	if len(due) > 0 {
		c.due[key.Name] = due
	}
	var failed error
	for i, err := range c.CommitParts(ctx, parts) {
		pod := evicted[i]
		if err != nil {
			failed = fmt.Errorf("evict pod %s/%s from %s: %w", pod.Namespace, pod.Name, key, err)
			continue
		}
		c.Events.Normal(evictionSource, pod, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	}
	return next, failed
}

// dated are the node's NoExecute taints, each with the time since which it is
// there; a node that is gone has none. What is gone is forgotten.
func (c *eviction) dated(name string, node *corev1.Node, now time.Time) []corev1.Taint {
	if node == nil {
		delete(c.since, name)
		return nil
	}
	seen := c.since[name]
	if seen.uid != node.UID {
		seen = firstSeen{uid: node.UID}
	}
	next := firstSeen{uid: node.UID, at: map[corev1.Taint]time.Time{}}
	var taints []corev1.Taint
	for _, t := range node.Spec.Taints {
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		if t.TimeAdded == nil {
			at, ok := seen.at[t]
			if !ok {
				at = now
			}
			next.at[t] = at
			t.TimeAdded = &metav1.Time{Time: at}
		}
		taints = append(taints, t)
	}
	if len(next.at) > 0 {
		c.since[name] = next
	} else {
		delete(c.since, name)
	}
	return taints
}

// evictAfterPause is Evict where taints that follow from a node's silence have
// no effect before left is over.
func evictAfterPause(pod *corev1.Pod, taints []corev1.Taint, left time.Duration, now time.Time) (time.Duration, bool) {
	after, stays := Evict(pod, taints, now)
	if stays || after >= left {
		return after, stays
	}
	theirs, none := Evict(pod, slices.DeleteFunc(slices.Clone(taints), ours), now)
	if none {
		return left, false
	}
	return min(theirs, left), false
}

// disrupt says in the pod's status who deletes it, and why.
func disrupt(pod *corev1.Pod, reason, message string, now time.Time) change.Change {
	return control.Guarded(change.PatchStatus(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
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
