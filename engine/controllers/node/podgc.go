package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const (
	// quarantine is for how long a node has to be gone before its pods are: it
	// may only be registering anew.
	quarantine = 40 * time.Second
	// defaultTerminated is how many ended pods are kept.
	defaultTerminated = 12500

	// deserted is how long a deletion of a pod without a node may take: the API
	// server does it in two writes.
	deserted = 5 * time.Second

	ended = "ended"
)

// endedKey is the queue key for ended pods.
var endedKey = object.Key{GroupKind: schema.GroupKind{Group: "podgc", Kind: "Ended"}}

type podGC struct {
	control.Env
	keep  int
	wait  time.Duration
	pulse *Pulse
	pods  *control.Index // by node
	ended *control.Index
	gone  map[string]time.Time // nodes missing since; owned by the one worker
}

// NewPodGC returns the pod garbage collector; keep 0 is defaultTerminated, and
// wait 0 is 40 s.
func NewPodGC(env control.Env, pulse *Pulse, keep int, wait time.Duration) control.Controller {
	if keep <= 0 {
		keep = defaultTerminated
	}
	if wait <= 0 {
		wait = quarantine
	}
	c := &podGC{Env: env, keep: keep, wait: wait, pulse: pulse, pods: podsByNode(env), gone: map[string]time.Time{}}
	c.ended = env.Feed.Index("ended pods", func(obj object.Object) []string {
		if pod, ok := obj.(*corev1.Pod); ok && control.Terminal(pod) {
			return []string{ended}
		}
		return nil
	}, control.Pod)
	return control.Controller{Name: "pod-garbage-collector-controller", Keys: c.keys, Reconcile: c.reconcile}
}

func (c *podGC) keys(ev object.Event, add func(object.Key)) {
	switch obj := ev.Object.(type) {
	case *corev1.Node:
		if ev.Type != object.Modified || outOfService(obj) {
			add(ev.Key)
		}
	case *corev1.Pod:
		if ev.Type == object.Deleted {
			return
		}
		if control.Terminal(obj) && c.ended.Len(ended) > c.keep {
			add(endedKey)
		}
		if unscheduled(obj) {
			add(ev.Key)
		}
		if obj.Spec.NodeName == "" {
			return
		}
		before, _ := ev.Old.(*corev1.Pod)
		key := nodeKey(obj.Spec.NodeName)
		switch node := control.Get[corev1.Node](c.Store, key); {
		case node == nil && (before == nil || before.Spec.NodeName == ""), node != nil && obj.DeletionTimestamp != nil && outOfService(node):
			add(key)
		}
	}
}

func (c *podGC) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	if key == endedKey {
		return 0, c.trim(ctx)
	}
	if key.GroupKind == control.Pod {
		return c.desert(ctx, key)
	}
	node := control.Get[corev1.Node](c.Store, key)
	if node != nil || c.pods.Len(key.Name) == 0 {
		delete(c.gone, key.Name)
		if node != nil && outOfService(node) {
			return 0, c.givenUp(ctx, key)
		}
		return 0, nil
	}
	now := c.Now()
	since, ok := c.gone[key.Name]
	if !ok {
		since = now
		c.gone[key.Name] = now
	}
	if resumed := c.pulse.Beat(now); since.Before(resumed) {
		since = resumed // it may have wanted to register anew meanwhile
	}
	if left := since.Add(c.wait).Sub(now); left > 0 {
		return left, nil
	}
	var parts [][]change.Change
	for _, obj := range c.pods.Get(key.Name) {
		if pod, ok := obj.(*corev1.Pod); ok {
			parts = append(parts, []change.Change{disrupt(pod, "DeletionByPodGC", "PodGC: node no longer exists", now), fail(pod), remove(pod, now)})
		}
	}
	if err := errors.Join(c.CommitParts(ctx, parts)...); err != nil {
		return 0, fmt.Errorf("remove the pods of %s, which is gone: %w", key, err)
	}
	delete(c.gone, key.Name)
	return 0, nil
}

// outOfService reports whether somebody has said that a node which is not ready will not
// end its pods: it is shut down, and not only its network.
func outOfService(node *corev1.Node) bool {
	return readyStatus(node.Status.Conditions) != corev1.ConditionTrue &&
		slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// givenUp removes the pods of a node out of service that are being deleted.
func (c *podGC) givenUp(ctx context.Context, key object.Key) error {
	var parts [][]change.Change
	for _, obj := range c.pods.Get(key.Name) {
		if pod, ok := obj.(*corev1.Pod); ok && pod.DeletionTimestamp != nil {
			parts = append(parts, []change.Change{fail(pod), remove(pod, c.Now())})
		}
	}
	if err := errors.Join(c.CommitParts(ctx, parts)...); err != nil {
		return fmt.Errorf("remove the pods of %s, which is out of service: %w", key, err)
	}
	return nil
}

// unscheduled reports whether a pod is being deleted and no node has it, so that
// nobody but the API server will ever remove it.
func unscheduled(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && pod.Spec.NodeName == ""
}

// desert removes a pod without a node whose deletion was cut off between its two
// writes: the client went away, or the server ended.
func (c *podGC) desert(ctx context.Context, key object.Key) (time.Duration, error) {
	pod, ok := c.Store.Get(key).(*corev1.Pod)
	if !ok || !unscheduled(pod) {
		return 0, nil
	}
	now := c.Now()
	if left := pod.DeletionTimestamp.Add(deserted).Sub(now); left > 0 {
		return left, nil
	}
	// It stays for finalizers, whose owners may wait for it to have ended.
	if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{fail(pod), remove(pod, now)}}); err != nil {
		return 0, fmt.Errorf("remove %s, which is being deleted and is on no node: %w", key, err)
	}
	return 0, nil
}

// wasEvicted reports whether a pod ended because its node had not enough of something.
func wasEvicted(obj object.Object) bool {
	pod, ok := obj.(*corev1.Pod)
	return ok && pod.Status.Phase == corev1.PodFailed && pod.Status.Reason == "Evicted"
}

// trim removes the ended pods beyond the number to keep: those that were evicted first,
// then the oldest.
func (c *podGC) trim(ctx context.Context) error {
	pods := c.ended.Get(ended)
	excess := len(pods) - c.keep
	if excess <= 0 {
		return nil
	}
	slices.SortStableFunc(pods, func(a, b object.Object) int {
		return cmp.Or(control.TrueFirst(wasEvicted(a), wasEvicted(b)), a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	var changes []change.Change
	for _, obj := range pods[:min(excess, 500)] {
		if pod, ok := obj.(*corev1.Pod); ok {
			changes = append(changes, remove(pod, c.Now()))
		}
	}
	if err := errors.Join(c.CommitParts(ctx, control.Singly(changes))...); err != nil {
		return fmt.Errorf("remove ended pods: %w", err)
	}
	return nil
}

// fail ends a pod whose containers nobody can report on any more.
func fail(pod *corev1.Pod) change.Change {
	return control.Guarded(change.PatchStatus(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
		stored := obj.(*corev1.Pod)
		if control.Terminal(stored) {
			return false
		}
		stored.Status.Phase, stored.Status.ObservedGeneration = corev1.PodFailed, stored.Generation
		return true
	}), control.SameUID(pod.UID))
}

func remove(pod *corev1.Pod, now time.Time) change.Change {
	return control.Guarded(change.Delete(object.KeyOf(control.Pod, pod), metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}, now), control.SameUID(pod.UID))
}
