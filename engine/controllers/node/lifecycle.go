package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const source = "node-controller"

type lifecycle struct {
	control.Env
	pulse *Pulse
	pods  *control.Index

	zones Zones
	// known: zones has the nodes that there were at the start.
	known sync.Once

	// since is when this began: nodes from before were told of then.
	since time.Time

	mu    sync.Mutex
	heard map[string]heartbeat
	// come and gone are nodes that have to be told of.
	come, gone map[string]*corev1.Node
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
	c := &lifecycle{Env: env, pulse: pulse, pods: podsByNode(env), since: env.Now().Truncate(time.Second), heard: map[string]heartbeat{}, come: map[string]*corev1.Node{}, gone: map[string]*corev1.Node{}}
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

func leaseKey(node string) object.Key {
	return object.Key{GroupKind: control.Lease, Namespace: corev1.NamespaceNodeLease, Name: node}
}

func (c *lifecycle) keys(ev object.Event, add func(object.Key)) {
	switch obj := ev.Object.(type) {
	case *coordinationv1.Lease:
		// A node that is alive needs no look for each of its heartbeats: the
		// next one is due when its grace period would end.
		if ev.Key.Namespace == corev1.NamespaceNodeLease && ev.Type != object.Deleted {
			c.see(ev.Key.Name, obj, nil)
		}
	case *corev1.Node:
		c.count(obj, ev.Type == object.Deleted)
		if c.zones.Changed() {
			c.failed(add)
		}
		if ev.Type == object.Deleted {
			c.mu.Lock()
			delete(c.heard, obj.Name)
			c.gone[obj.Name] = obj
			c.mu.Unlock()
			add(ev.Key)
			return
		}
		if ev.Type == object.Added && !obj.CreationTimestamp.Time.Before(c.since) {
			c.mu.Lock()
			c.come[obj.Name] = obj
			c.mu.Unlock()
		}
		add(pulseKey)
		c.see(obj.Name, nil, obj)
		add(ev.Key)
	}
}

// count keeps the zones. At first all nodes are counted: with some of them, one
// might seem to be the last.
func (c *lifecycle) count(node *corev1.Node, gone bool) {
	c.known.Do(func() {
		nodes, _ := c.Store.List(control.Node, "")
		for _, obj := range nodes {
			if n, ok := obj.(*corev1.Node); ok {
				c.zones.Set(n, readyStatus(n.Status.Conditions) == corev1.ConditionTrue)
			}
		}
	})
	if gone {
		c.zones.Remove(node.Name)
		return
	}
	c.zones.Set(node, readyStatus(node.Status.Conditions) == corev1.ConditionTrue)
}

// tell records that a node has gone or come since.
func (c *lifecycle) tell(name string) {
	c.mu.Lock()
	gone, come := c.gone[name], c.come[name]
	delete(c.gone, name)
	delete(c.come, name)
	c.mu.Unlock()
	if gone != nil {
		c.Events.Normal(source, gone, "RemovingNode", "Node %s event: Removing Node %s from Controller", name, name)
	}
	if come != nil {
		c.Events.Normal(source, come, "RegisteredNode", "Node %s event: Registered Node %s in Controller", name, name)
	}
}

// failed adds the nodes that are not ready.
func (c *lifecycle) failed(add func(object.Key)) {
	nodes, _ := c.Store.List(control.Node, "")
	for _, obj := range nodes {
		if n, ok := obj.(*corev1.Node); ok && readyStatus(n.Status.Conditions) != corev1.ConditionTrue {
			add(nodeKey(n.Name))
		}
	}
}

// see notes the time if the node's Lease or the node itself, nil if unknown, is
// a newer sign of life, and returns what is known now.
func (c *lifecycle) see(name string, lease *coordinationv1.Lease, node *corev1.Node) heartbeat {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.heard[name]
	newer := false
	if renewed := renewTime(lease); !renewed.IsZero() && !renewed.Equal(h.renewed) {
		h.renewed, newer = renewed, true
	}
	if node != nil {
		if posted := postTime(node); h.at.IsZero() || !posted.Equal(h.posted) {
			h.posted, newer = posted, true
		}
	}
	if newer {
		h.at = c.Now()
	}
	c.heard[name] = h
	return h
}

func renewTime(lease *coordinationv1.Lease) time.Time {
	if lease == nil || lease.Spec.RenewTime == nil {
		return time.Time{}
	}
	return lease.Spec.RenewTime.Time
}

func postTime(node *corev1.Node) time.Time {
	for _, cond := range node.Status.Conditions {
		if cond.Type == corev1.NodeReady {
			return cond.LastHeartbeatTime.Time
		}
	}
	return time.Time{}
}

func (c *lifecycle) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	now := c.Now()
	resumed := c.pulse.Beat(now)
	if key == pulseKey {
		return c.pulse.interval(), nil
	}
	c.tell(key.Name)
	node := control.Get[corev1.Node](c.Store, key)
	if node == nil {
		return 0, nil
	}
	// What is stored counts: of the newest heartbeats the feed may tell late.
	last := c.see(key.Name, control.Get[coordinationv1.Lease](c.Store, leaseKey(key.Name)), node)
	if last.at.Before(resumed) {
		last.at = resumed // nobody listened
	}
	conditions, after := Health(node, last.at, c.pulse.grace, now)
	silent := after == 0
	if silent {
		after = c.pulse.grace // a Lease alone does not add the key
	}
	w := verdict{c: c, node: node, last: last, now: now, ready: readyStatus(conditions)}
	var tx change.Tx
	if !apiequality.Semantic.DeepEqual(conditions, node.Status.Conditions) {
		tx.Changes = append(tx.Changes, w.lease(), w.conditions(conditions))
	}
	pods, turn := c.zones.Judge(node, w.ready == corev1.ConditionTrue, now)
	if turn > 0 {
		after = min(after, turn)
	}
	if taints := Taints(node, conditions, pods, now); !apiequality.Semantic.DeepEqual(taints, node.Spec.Taints) {
		// What users taint must not be lost: decide again on what is stored.
		tx.Changes = append(tx.Changes, control.Guarded(change.Patch(key, func(obj object.Object) bool {
			stored := obj.(*corev1.Node)
			was := evicts(stored)
			stored.Spec.Taints = Taints(stored, stored.Status.Conditions, pods, now)
			w.began = !was && evicts(stored)
			return true
		}), control.SameUID(node.UID)))
	}
	lost := w.ready != corev1.ConditionTrue && (last.ready == corev1.ConditionTrue || readyStatus(node.Status.Conditions) == corev1.ConditionTrue)
	var failing []*corev1.Pod
	// An agent that is heard has the last word on its pods: after the change,
	// it may say again that they are ready.
	if lost || silent && w.ready == corev1.ConditionUnknown {
		tx.Changes = append(tx.Changes, w.stored())
		failing = c.failing(key.Name)
		for _, pod := range failing {
			tx.Changes = append(tx.Changes, w.notReady(pod))
		}
	}
	if _, err := c.Commit(ctx, tx); err != nil {
		return 0, fmt.Errorf("write the state of %s: %w", key, err)
	}
	if w.began {
		c.zones.Began(node, now)
	}
	if w.stale {
		return c.pulse.interval(), nil
	}
	c.mu.Lock()
	if h, ok := c.heard[key.Name]; ok {
		h.ready = w.ready
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
