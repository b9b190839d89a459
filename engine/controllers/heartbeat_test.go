package controllers_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// A node whose heartbeats are stored in time stays ready, however late the
// controllers are told of them.
func TestHeartbeatsToldLate(t *testing.T) {
	c := start(t, 1, func(cfg *controllers.Config) {
		cfg.NodeGrace = 500 * time.Millisecond
		cfg.Store = lagging{cfg.Store, 1300 * time.Millisecond}
	})
	c.commit(change.Create(newDeployment("web", 1), time.Now()))
	ready := 0
	tick := time.NewTicker(50 * time.Millisecond)
	for i := 0; i < 1200 && ready < 60; i++ {
		<-tick.C
		c.beat()
		if len(c.pods()) == 1 && control.Ready(c.pods()[0]) {
			ready++
		} else if ready > 0 {
			break
		}
	}
	if ready == 0 {
		t.Fatal("the pod did not become ready")
	}
	c.undisturbed()
}

// held holds up the first verdict that a node is lost until it is let go.
type held struct {
	control.Store
	asked, free chan struct{}
	once        *sync.Once
}

func (h held) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	if slices.ContainsFunc(tx.Changes, func(c change.Change) bool { return c.Key.Kind == "Pod" }) && slices.ContainsFunc(tx.Changes, func(c change.Change) bool { return c.Key.Kind == "Node" }) {
		h.once.Do(func() {
			close(h.asked)
			<-h.free
		})
	}
	return h.Store.Commit(ctx, tx)
}

// A node that was found silent while the disk stood still, and is heard before
// that is written, stays ready.
func TestHeardBeforeTheVerdict(t *testing.T) {
	h := held{asked: make(chan struct{}), free: make(chan struct{}), once: &sync.Once{}}
	c := start(t, 1, func(cfg *controllers.Config) {
		cfg.NodeGrace = time.Second
		h.Store = cfg.Store
		cfg.Store = h
	})
	c.beat()
	c.commit(change.Create(newDeployment("web", 1), time.Now()))
	c.eventually("a ready pod", func() bool { return len(c.pods()) == 1 && control.Ready(c.pods()[0]) })
	<-h.asked
	c.beat()
	close(h.free)
	tick := time.NewTicker(50 * time.Millisecond)
	for range 20 {
		<-tick.C
		c.beat()
	}
	c.undisturbed()
}

// undisturbed fails unless the first node was found ready all the time: that it came is
// all that there is to tell of it.
func (c *cluster) undisturbed() {
	c.t.Helper()
	if events := c.events("Node", "node-00"); len(events) > 1 || !control.Ready(c.pods()[0]) {
		c.t.Errorf("events of a node that is heard: %q, its pod is ready: %t", events, control.Ready(c.pods()[0]))
	}
}

// beat renews the first node's Lease.
func (c *cluster) beat() {
	c.t.Helper()
	c.commit(renewed("node-00"))
}

// renewed renews a node's Lease.
func renewed(node string) change.Change {
	key := object.Key{GroupKind: control.Lease, Namespace: corev1.NamespaceNodeLease, Name: node}
	return change.Change{Key: key, Mutate: func(current object.Object) (object.Object, error) {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		if l, ok := current.(*coordinationv1.Lease); ok {
			lease = l.DeepCopy()
		}
		lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
		return lease, nil
	}}
}
