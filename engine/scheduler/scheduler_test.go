package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"go.uber.org/goleak"

	"headway.dev/engine/event"
	"headway.dev/engine/scheduler"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	podKind    = schema.GroupKind{Kind: "Pod"}
	nodeKind   = schema.GroupKind{Kind: "Node"}
	eventKind  = schema.GroupKind{Kind: "Event"}
	budgetKind = schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}
)

// rig is a real store with the scheduler on it.
type rig struct {
	t     testing.TB
	store *store.Store
	ctx   context.Context //nolint:containedctx // as long as the test
}

func start(tb testing.TB, opts store.Options, before ...change.Change) *rig {
	tb.Helper()
	return startWith(tb, opts, func(*scheduler.Scheduler) {}, before...)
}

func startWith(tb testing.TB, opts store.Options, prepare func(*scheduler.Scheduler), before ...change.Change) *rig {
	tb.Helper()
	opts.Path = filepath.Join(tb.TempDir(), "db")
	s, err := store.Open(opts)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{tb, s, ctx}
	if len(before) > 0 {
		r.commit(before...)
	}
	events := event.NewRecorder(s, time.Now, slog.New(slog.DiscardHandler))
	done := make(chan error, 2)
	go func() { done <- events.Run(ctx) }()
	sched := scheduler.New(scheduler.Config{Store: s, Events: events})
	prepare(sched)
	go func() { done <- sched.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				tb.Errorf("Run: %v", err)
			}
		}
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return r
}

func (r *rig) commit(changes ...change.Change) {
	r.t.Helper()
	if _, err := r.store.Commit(r.ctx, change.Tx{Changes: changes}); err != nil {
		r.t.Fatal(err)
	}
}

func nodeChanges(name, cpu string) []change.Change {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	return []change.Change{
		change.Create(n, time.Now()),
		change.PatchStatus(object.Key{GroupKind: nodeKind, Name: name}, func(obj object.Object) bool {
			obj.(*corev1.Node).Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("16Gi"), "pods": resource.MustParse("110")}
			return true
		}),
	}
}

func podChange(name, cpu string, edit ...func(*corev1.Pod)) change.Change {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "web", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)}},
		}}},
	}
	for _, e := range edit {
		e(p)
	}
	return change.Create(p, time.Now())
}

func podKey(name string) object.Key {
	return object.Key{GroupKind: podKind, Namespace: "default", Name: name}
}

func (r *rig) pod(name string) *corev1.Pod {
	p, _ := r.store.Get(podKey(name)).(*corev1.Pod)
	return p
}

func (r *rig) scheduled(name string) corev1.PodCondition {
	if p := r.pod(name); p != nil {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled {
				return c
			}
		}
	}
	return corev1.PodCondition{}
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, 30*time.Second)
	defer cancel()
	for {
		watcher, err := r.store.Watch(0)
		for err == nil {
			if ok() {
				return
			}
			_, err = watcher.Next(ctx)
		}
		if !errors.Is(err, object.ErrExpired) {
			objs, _ := r.store.List(podKind, "")
			for _, o := range objs {
				r.t.Logf("%s on %q: %+v", o.GetName(), o.(*corev1.Pod).Spec.NodeName, o.(*corev1.Pod).Status.Conditions)
			}
			r.t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

func (r *rig) events(name string) []string {
	objs, _ := r.store.List(eventKind, "default")
	var found []string
	for _, o := range objs {
		if e := o.(*corev1.Event); e.InvolvedObject.Name == name {
			found = append(found, e.Type+" "+e.Reason+" "+e.Message)
		}
	}
	return found
}

// A pod gets a node, its condition and its event; its generation stays.
func TestBind(t *testing.T) {
	r := start(t, store.Options{}, nodeChanges("a", "4")...)
	r.commit(podChange("web", "1"))
	r.eventually("the binding", func() bool { return r.pod("web").Spec.NodeName == "a" })
	if c := r.scheduled("web"); c.Status != corev1.ConditionTrue || c.Reason != "" || r.pod("web").Generation != 1 {
		t.Errorf("PodScheduled = %+v, generation %d, want True and 1", c, r.pod("web").Generation)
	}
	r.eventually("the event", func() bool {
		return slices.Contains(r.events("web"), "Normal Scheduled Successfully assigned default/web to a")
	})
}

// A pod that fits nowhere says why, and is scheduled as soon as that changes:
// by a new node, by another pod's end, by a node that is uncordoned.
func TestPending(t *testing.T) {
	r := start(t, store.Options{})
	r.commit(podChange("web", "3"))
	r.eventually("no nodes", func() bool { return r.scheduled("web").Message == "no nodes available to schedule pods" })
	r.commit(nodeChanges("a", "4")...)
	r.eventually("the new node", func() bool { return r.pod("web").Spec.NodeName == "a" })

	r.commit(podChange("next", "2"))
	const full = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
	r.eventually("a full node", func() bool {
		c := r.scheduled("next")
		return c.Status == corev1.ConditionFalse && c.Reason == "Unschedulable" && c.Message == full
	})
	r.eventually("the event", func() bool { return slices.Contains(r.events("next"), "Warning FailedScheduling "+full) })
	r.commit(change.Delete(podKey("web"), metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}, time.Now()))
	r.eventually("the room", func() bool { return r.pod("next").Spec.NodeName == "a" })
	if c := r.scheduled("next"); c.Status != corev1.ConditionTrue || c.Message != "" {
		t.Errorf("PodScheduled = %+v, want True without a message", c)
	}

	cordon := func(on bool) change.Change {
		return change.Patch(object.Key{GroupKind: nodeKind, Name: "a"}, func(obj object.Object) bool {
			obj.(*corev1.Node).Spec.Unschedulable = on
			return true
		})
	}
	r.commit(cordon(true), podChange("third", "1"))
	r.eventually("the cordon", func() bool { return strings.Contains(r.scheduled("third").Message, "node(s) were unschedulable") })
	r.commit(cordon(false))
	r.eventually("the end of the cordon", func() bool { return r.pod("third").Spec.NodeName == "a" })
}

// Of the pods that wait, those with the higher priority come first.
func TestPriority(t *testing.T) {
	var changes []change.Change
	for i := range 6 {
		changes = append(changes, podChange(fmt.Sprintf("p%d", i), "1", func(p *corev1.Pod) { p.Spec.Priority = new(int32(i % 3)) }))
	}
	r := start(t, store.Options{}, append(changes, nodeChanges("a", "2")...)...)
	r.eventually("both of priority 2", func() bool {
		return r.pod("p2").Spec.NodeName == "a" && r.pod("p5").Spec.NodeName == "a" && r.scheduled("p0").Status == corev1.ConditionFalse
	})
}

// Pods with gates or of another scheduler are left alone until they are not.
func TestNotYet(t *testing.T) {
	r := start(t, store.Options{}, nodeChanges("a", "4")...)
	r.commit(
		podChange("gated", "1", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}} }),
		podChange("other", "1", func(p *corev1.Pod) { p.Spec.SchedulerName = "other" }),
		podChange("plain", "1"))
	r.eventually("the plain pod", func() bool { return r.pod("plain").Spec.NodeName == "a" })
	if c := r.scheduled("gated"); c.Reason != "SchedulingGated" || r.pod("gated").Spec.NodeName != "" || r.pod("other").Spec.NodeName != "" {
		t.Errorf("gated pod: %+v on %q, other scheduler's pod on %q; want both without a node", c, r.pod("gated").Spec.NodeName, r.pod("other").Spec.NodeName)
	}
	r.commit(change.Patch(podKey("gated"), func(obj object.Object) bool { obj.(*corev1.Pod).Spec.SchedulingGates = nil; return true }))
	r.eventually("the gate's end", func() bool { return r.pod("gated").Spec.NodeName == "a" })
}

// A scheduler that falls behind a short history lists again and loses nothing;
// nodes are not given more than they have.
func TestFallBehind(t *testing.T) {
	r := start(t, store.Options{History: 4})
	for i := range 4 {
		r.commit(nodeChanges(fmt.Sprintf("n%d", i), "10")...)
	}
	for i := range 10 {
		var changes []change.Change
		for j := range 5 {
			changes = append(changes, podChange(fmt.Sprintf("p%d-%d", i, j), "1"))
		}
		r.commit(changes...)
	}
	perNode := map[string]int{}
	r.eventually("40 bound pods and 10 that are refused", func() bool {
		clear(perNode)
		refused := 0
		objs, _ := r.store.List(podKind, "")
		for _, o := range objs {
			if p := o.(*corev1.Pod); p.Spec.NodeName != "" {
				perNode[p.Spec.NodeName]++
			} else if r.scheduled(p.Name).Reason == "Unschedulable" {
				refused++
			}
		}
		return refused == 10
	})
	for name, n := range perNode {
		if n != 10 {
			t.Errorf("node %s has %d pods, want 10", name, n)
		}
	}
}

func BenchmarkSchedule1000PodsOn100Nodes(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r := start(b, store.Options{})
		for i := range 100 {
			r.commit(nodeChanges(fmt.Sprintf("n%03d", i), "64")...)
		}
		watcher, err := r.store.Watch(0, podKind)
		if err != nil {
			b.Fatal(err)
		}
		var changes []change.Change
		for i := range 1000 {
			changes = append(changes, podChange(fmt.Sprintf("p%04d", i), "100m"))
		}
		b.StartTimer()
		r.commit(changes...)
		for bound := 0; bound < 1000; {
			events, err := watcher.Next(r.ctx)
			if err != nil {
				b.Fatal(err)
			}
			for _, ev := range events {
				if ev.Type == object.Modified && ev.Old.(*corev1.Pod).Spec.NodeName == "" && ev.Object.(*corev1.Pod).Spec.NodeName != "" {
					bound++
				}
			}
		}
	}
}
