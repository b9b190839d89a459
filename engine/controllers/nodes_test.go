package controllers_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// A silent node becomes Unknown, is tainted, and its pods leave their Service
// and, without a toleration for it, the node.
func TestSilentNode(t *testing.T) {
	c := start(t, 1, func(cfg *controllers.Config) { cfg.NodeGrace = 300 * time.Millisecond })
	silence := c.heard("node-00")
	c.standby()
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	silence()
	pod := c.pods()[0]
	c.eventually("the node to be unreachable", func() bool {
		n := control.Get[corev1.Node](c.store, object.Key{GroupKind: control.Node, Name: "node-00"})
		unreachable := 0
		for _, taint := range n.Spec.Taints {
			if taint.Key == corev1.TaintNodeUnreachable {
				unreachable++
			}
		}
		return unreachable == 2 && n.Status.Conditions[0].Status == corev1.ConditionUnknown && n.Status.Conditions[0].Message == "Kubelet stopped posting node status."
	})
	c.eventually("eviction", func() bool {
		return slices.Contains(c.events("Pod", pod.Name), "TaintManagerEviction: Marking for deletion Pod default/"+pod.Name)
	})
	c.eventually("a successor that waits", func() bool {
		pods := c.pods()
		if len(pods) != 1 || pods[0].UID == pod.UID {
			return false
		}
		cond := control.PodCondition(pods[0], corev1.PodScheduled)
		return cond != nil && cond.Reason == "Unschedulable" &&
			strings.HasPrefix(cond.Message, "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. ")
	})
	// The node is heard again: it serves again.
	c.heard("node-00")
	c.commit(change.PatchStatus(object.Key{GroupKind: control.Node, Name: "node-00"}, func(obj object.Object) bool {
		n := obj.(*corev1.Node)
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(time.Now().Add(time.Minute))}}
		return true
	}))
	c.eventually("the successor to run", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
}

// standby is a node that is ready, and takes no pods.
func (c *cluster) standby() {
	c.t.Helper()
	c.node("standby")
	c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: "standby"}, func(obj object.Object) bool {
		obj.(*corev1.Node).Spec.Unschedulable = true
		return true
	}))
	c.heard("standby")
}

// heard lets a node be heard until the end of the test, or until it is to be silent.
func (c *cluster) heard(name string) (silence func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan error, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := c.user.Commit(ctx, change.Tx{Changes: []change.Change{renewed(name)}}); err != nil {
				done <- err
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	silence = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			c.t.Errorf("renew a lease: %v", err)
		}
	})
	c.t.Cleanup(silence)
	return silence
}

// If no node is heard any more, it is the server that hears nobody: the pods stay. When
// another node is heard, those of a silent one go.
func TestNoNodeIsHeard(t *testing.T) {
	c := start(t, 1, func(cfg *controllers.Config) { cfg.NodeGrace = 300 * time.Millisecond })
	silence := c.heard("node-00")
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	silence()
	pod := c.pods()[0]
	node := object.Key{GroupKind: control.Node, Name: "node-00"}
	taints := func() []corev1.Taint { return control.Get[corev1.Node](c.store, node).Spec.Taints }
	c.eventually("a taint", func() bool { return len(taints()) > 0 })
	if got := taints(); len(got) != 1 || got[0].ToString() != "node.kubernetes.io/unreachable:NoSchedule" {
		t.Errorf("taints of the only node, which is silent: %v, want only unreachable:NoSchedule", got)
	}
	// It is looked at again, and keeps its pod.
	c.commit(change.Patch(node, func(obj object.Object) bool {
		obj.(*corev1.Node).Spec.Unschedulable = true
		return true
	}))
	c.eventually("another taint", func() bool { return len(taints()) == 2 })
	if pods := c.pods(); len(pods) != 1 || pods[0].UID != pod.UID || pods[0].DeletionTimestamp != nil {
		t.Errorf("the pods are %v, want the one from before", pods)
	}
	c.standby()
	c.eventually("eviction", func() bool {
		return slices.Contains(c.events("Pod", pod.Name), "TaintManagerEviction: Marking for deletion Pod default/"+pod.Name)
	})
}

// TestRangesRunOut: nodes for which no range is left are told so, and get the next one that
// is free again.
func TestRangesRunOut(t *testing.T) {
	c := start(t, 6, quiet, func(cfg *controllers.Config) { cfg.ClusterCIDR = netip.MustParsePrefix("10.244.0.0/22") })
	ranges := func() (with, without []string) {
		nodes, _ := c.store.List(control.Node, "")
		for _, n := range nodes {
			if cidr := n.(*corev1.Node).Spec.PodCIDR; cidr != "" {
				with = append(with, cidr+" "+n.GetName())
			} else {
				without = append(without, n.GetName())
			}
		}
		slices.Sort(with)
		return with, without
	}
	c.eventually("four nodes with ranges", func() bool { with, _ := ranges(); return len(with) == 4 })
	with, without := ranges()
	for _, name := range without {
		c.eventually("the event of "+name, func() bool {
			return slices.Contains(c.events("Node", name), "CIDRNotAvailable: Node "+name+" status is now: CIDRNotAvailable")
		})
	}
	cidr, gone, _ := strings.Cut(with[2], " ")
	c.delete(object.Key{GroupKind: control.Node, Name: gone}, metav1.DeletePropagationBackground)
	c.eventually("the range of "+gone+" to be another's", func() bool {
		with, without := ranges()
		return len(with) == 4 && len(without) == 1 && strings.HasPrefix(with[2], cidr) && !strings.HasSuffix(with[2], gone)
	})
}

// Nodes get distinct ranges, and the pods of a node that is gone are removed.
func TestNodeGone(t *testing.T) {
	c := start(t, 3, func(cfg *controllers.Config) { cfg.NodeGone = 50 * time.Millisecond })
	c.commit(change.Create(newDeployment("web", 3), time.Now()))
	c.eventually("rollout", func() bool { return c.rolledOut("web") })
	seen := map[string]bool{}
	nodes, _ := c.store.List(control.Node, "")
	for _, n := range nodes {
		seen[n.(*corev1.Node).Spec.PodCIDR] = true
	}
	if len(seen) != 3 || !seen["10.244.0.0/24"] || !seen["10.244.2.0/24"] {
		t.Errorf("pod CIDRs = %v, want the first three /24 of 10.244.0.0/16", seen)
	}
	gone := c.pods()[0].Spec.NodeName
	c.delete(object.Key{GroupKind: control.Node, Name: gone}, metav1.DeletePropagationBackground)
	c.eventually("pods elsewhere", func() bool {
		for _, p := range c.pods() {
			if p.Spec.NodeName == gone {
				return false
			}
		}
		return c.rolledOut("web")
	})
	for _, want := range []string{"RegisteredNode: Node " + gone + " event: Registered Node " + gone + " in Controller", "RemovingNode: Node " + gone + " event: Removing Node " + gone + " from Controller"} {
		c.eventually("the event "+want, func() bool { return slices.Contains(c.events("Node", gone), want) })
	}
}

// Nodes get a range of each family, with the same number.
func TestNodeRangesOfBothFamilies(t *testing.T) {
	c := start(t, 3, func(cfg *controllers.Config) { cfg.ClusterCIDR6 = netip.MustParsePrefix("fd00:42::/48") })
	c.eventually("ranges", func() bool {
		nodes, _ := c.store.List(control.Node, "")
		seen := map[string]string{}
		for _, n := range nodes {
			if spec := n.(*corev1.Node).Spec; len(spec.PodCIDRs) == 2 && spec.PodCIDR == spec.PodCIDRs[0] {
				seen[spec.PodCIDRs[0]] = spec.PodCIDRs[1]
			}
		}
		return maps.Equal(seen, map[string]string{"10.244.0.0/24": "fd00:42::/64", "10.244.1.0/24": "fd00:42:0:1::/64", "10.244.2.0/24": "fd00:42:0:2::/64"})
	})
}

// A toleration expires also for a taint that does not say since when it is
// there, as those that kubectl sets.
func TestUndatedTaint(t *testing.T) {
	c := start(t, 1)
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "example.com/drain", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](1)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	pod := c.pods()[0]
	c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: "node-00"}, func(obj object.Object) bool {
		n := obj.(*corev1.Node)
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "example.com/drain", Effect: corev1.TaintEffectNoExecute})
		return true
	}))
	c.eventually("eviction", func() bool {
		return slices.Contains(c.events("Pod", pod.Name), "TaintManagerEviction: Marking for deletion Pod default/"+pod.Name)
	})
}

// A pod that would have to leave later stays if the taint is gone before, and its events
// tell so.
func TestTaintTakenOff(t *testing.T) {
	c := start(t, 1, quiet)
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "example.com/drain", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](3600)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	pod := c.pods()[0]
	taint := func(taints ...corev1.Taint) {
		c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: "node-00"}, func(obj object.Object) bool {
			obj.(*corev1.Node).Spec.Taints = taints
			return true
		}))
	}
	drain := corev1.Taint{Key: "example.com/drain", Effect: corev1.TaintEffectNoExecute}
	taint(drain)
	// The pods of a node are looked at together: this one has to leave at once, the
	// other in an hour.
	c.commit(change.Create(podOn("other", "node-00"), time.Now()))
	c.eventually("a pod without the toleration to leave", func() bool { return c.pod("other") == nil })
	taint()
	want := "TaintManagerEviction: Cancelling deletion of Pod default/" + pod.Name
	c.eventually("the event", func() bool { return slices.Contains(c.events("Pod", pod.Name), want) })
	if got := c.pod(pod.Name); got == nil || got.DeletionTimestamp != nil || len(c.events("Pod", "other")) == 0 {
		t.Errorf("the pod that may stay is %v", got)
	}
}

// A controller that stood still has heard no heartbeats: that says nothing
// about the nodes.
func TestStoppedController(t *testing.T) {
	var ahead atomic.Int64
	c := start(t, 1, func(cfg *controllers.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0)}}
	c.commit(change.Create(d, time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	pod := c.pods()[0]
	ahead.Store(int64(10 * time.Minute))
	node := object.Key{GroupKind: control.Node, Name: "node-00"}
	c.commit(change.Patch(node, func(obj object.Object) bool {
		obj.SetAnnotations(map[string]string{"example.com/touched": "yes"})
		return true
	}))
	// One worker looks at the nodes in the order of their events: when it has
	// tainted this one, it has judged the other.
	c.commit(change.Create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-new"}}, time.Now()))
	c.eventually("the new node's taint", func() bool {
		return len(control.Get[corev1.Node](c.store, object.Key{GroupKind: control.Node, Name: "node-new"}).Spec.Taints) > 0
	})
	n := control.Get[corev1.Node](c.store, node)
	if n.Status.Conditions[0].Status != corev1.ConditionTrue || len(n.Spec.Taints) != 0 {
		t.Errorf("the node has conditions %v and taints %v, want it Ready", n.Status.Conditions, n.Spec.Taints)
	}
	if pods := c.pods(); len(pods) != 1 || pods[0].UID != pod.UID || !control.Ready(pods[0]) {
		t.Errorf("pods are %v, want the one from before, ready", pods)
	}
}
