package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
)

const source = "node-controller"

type lifecycle struct {
	control.Env
	pulse *Pulse
	pods  *control.Index

	mu    sync.Mutex
	heard map[string]heartbeat
}

// heartbeat is the newest sign of life and when it was seen here.
type heartbeat struct {
	renewed, posted time.Time
	at              time.Time
	// ready is the status of the condition that was acted upon last.
	ready corev1.ConditionStatus
}

// pulseKey is the queue key under which the pulse is felt.
var pulseKey = object.Key{GroupKind: schema.GroupKind{Group: "node", Kind: "Pulse"}}

// NewLifecycle makes the node-lifecycle controller.
func NewLifecycle(env control.Env, pulse *Pulse) control.Controller {
	c := &lifecycle{Env: env, pulse: pulse, pods: podsByNode(env), heard: map[string]heartbeat{}}
	return control.Controller{Name: "node-lifecycle-controller", Keys: c.keys, Reconcile: c.reconcile}
}

func podsByNode(env control.Env) *control.Index {
	return env.Feed.Index("pods by node", func(obj object.Object) []string {
		if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}
		}
		return nil
	}, control.Pod)
}

func nodeKey(name string) object.Key { return object.Key{GroupKind: control.Node, Name: name} }

func (c *lifecycle) keys(ev object.Event, add func(object.Key)) {
	switch obj := ev.Object.(type) {
	case *coordinationv1.Lease:
		// A node that is alive needs no look for each of its heartbeats: the
		// next one is due when its grace period would end.
		if ev.Key.Namespace == corev1.NamespaceNodeLease && obj.Spec.RenewTime != nil && ev.Type != object.Deleted {
			c.see(ev.Key.Name, func(h *heartbeat) bool {
				newer := !h.renewed.Equal(obj.Spec.RenewTime.Time)
				h.renewed = obj.Spec.RenewTime.Time
				return newer
			})
		}
	case *corev1.Node:
		if ev.Type == object.Deleted {
			c.mu.Lock()
			delete(c.heard, obj.Name)
			c.mu.Unlock()
			return
		}
		add(pulseKey)
		c.see(obj.Name, func(h *heartbeat) bool {
			var posted time.Time
			for _, cond := range obj.Status.Conditions {
				if cond.Type == corev1.NodeReady {
					posted = cond.LastHeartbeatTime.Time
				}
			}
			newer := h.at.IsZero() || !h.posted.Equal(posted)
			h.posted = posted
			return newer
		})
		add(ev.Key)
	}
}

// see notes the time if there is a newer sign of life.
func (c *lifecycle) see(name string, newer func(*heartbeat) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.heard[name]
	if newer(&h) {
		h.at = c.Now()
	}
	c.heard[name] = h
}

func (c *lifecycle) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	now := c.Now()
	resumed := c.pulse.Beat(now)
	if key == pulseKey {
		return c.pulse.interval(), nil
	}
	node := control.Get[corev1.Node](c.Store, key)
	if node == nil {
		return 0, nil
	}
	c.mu.Lock()
	last := c.heard[key.Name]
	c.mu.Unlock()
	if last.at.Before(resumed) {
		last.at = resumed // nobody listened
	}
	conditions, after := Health(node, last.at, c.pulse.grace, now)
	silent := after == 0
	if silent {
		after = c.pulse.grace // a Lease alone does not add the key
	}
	var tx change.Tx
	if !apiequality.Semantic.DeepEqual(conditions, node.Status.Conditions) {
		tx.Changes = append(tx.Changes, control.Guarded(change.PatchStatus(key, func(obj object.Object) bool {
			obj.(*corev1.Node).Status.Conditions = conditions
			return true
		}), func(current object.Object) bool { return current.GetResourceVersion() == node.ResourceVersion }))
	}
	if taints := Taints(node, conditions, now); !apiequality.Semantic.DeepEqual(taints, node.Spec.Taints) {
		// What users taint must not be lost: decide again on what is stored.
		tx.Changes = append(tx.Changes, control.Guarded(change.Patch(key, func(obj object.Object) bool {
			stored := obj.(*corev1.Node)
			stored.Spec.Taints = Taints(stored, stored.Status.Conditions, now)
			return true
		}), control.SameUID(node.UID)))
	}
	status := readyStatus(conditions)
	lost := status != corev1.ConditionTrue && (last.ready == corev1.ConditionTrue || readyStatus(node.Status.Conditions) == corev1.ConditionTrue)
	var failing []*corev1.Pod
	// An agent that is heard has the last word on its pods: after the change,
	// it may say again that they are ready.
	if lost || silent && status == corev1.ConditionUnknown {
		failing = c.failing(key.Name)
		for _, pod := range failing {
			tx.Changes = append(tx.Changes, notReady(pod, now))
		}
	}
	if _, err := c.Commit(ctx, tx); err != nil {
		return 0, fmt.Errorf("write the state of %s: %w", key, err)
	}
	c.mu.Lock()
	if h, ok := c.heard[key.Name]; ok {
		h.ready = status
		c.heard[key.Name] = h
	}
	c.mu.Unlock()
	if lost {
		c.Events.Normal(source, node, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	}
	for _, pod := range failing {
		c.Events.Warning(source, pod, "NodeNotReady", "Node is not ready")
	}
	return after, nil
}

// failing are the pods that a node which is not ready still shows as ready.
// They must leave the Services: nobody knows whether they answer.
func (c *lifecycle) failing(node string) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, obj := range c.pods.Get(node) {
		if pod, ok := obj.(*corev1.Pod); ok && control.Ready(pod) {
			pods = append(pods, pod)
		}
	}
	return pods
}

func notReady(pod *corev1.Pod, now time.Time) change.Change {
	return control.Guarded(change.PatchStatus(control.KeyOf(control.Pod, pod), func(obj object.Object) bool {
		c := control.PodCondition(obj.(*corev1.Pod), corev1.PodReady)
		if c == nil || c.Status != corev1.ConditionTrue {
			return false
		}
		c.Status, c.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now)
		return true
	}), control.SameUID(pod.UID))
}
