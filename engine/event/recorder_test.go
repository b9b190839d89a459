package event_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/event"
	"headway.dev/engine/store"
)

type rig struct {
	t        *testing.T
	store    *store.Store
	recorder *event.Recorder
}

func start(t *testing.T) *rig {
	t.Helper()
	s, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t, s, event.NewRecorder(s, time.Now, slog.New(slog.DiscardHandler))}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.recorder.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// wait returns the events once they satisfy ok.
func (r *rig) wait(what string, ok func([]*corev1.Event) bool) []*corev1.Event {
	r.t.Helper()
	watcher, err := r.store.Watch(0)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		objs, _ := r.store.List(schema.GroupKind{Kind: "Event"}, "")
		var events []*corev1.Event
		for _, o := range objs {
			events = append(events, o.(*corev1.Event))
		}
		if ok(events) {
			return events
		}
		if _, err := watcher.Next(ctx); err != nil {
			r.t.Fatalf("waiting for %s: %v; there are %+v", what, err, events)
		}
	}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "uid-1"}}
}

// The same event again raises the count and the time of the first one.
func TestRepeated(t *testing.T) {
	r := start(t)
	for range 3 {
		r.recorder.Warning("kubelet", pod("web"), "BackOff", "Back-off %s", "restarting")
	}
	events := r.wait("a count of 3", func(e []*corev1.Event) bool { return len(e) == 1 && e[0].Count == 3 })
	got := events[0]
	if got.InvolvedObject.Kind != "Pod" || got.InvolvedObject.APIVersion != "v1" || got.InvolvedObject.UID != "uid-1" ||
		got.Type != "Warning" || got.Reason != "BackOff" || got.Message != "Back-off restarting" || got.Source.Component != "kubelet" ||
		!strings.HasPrefix(got.Name, "web.") || got.LastTimestamp.Before(&got.FirstTimestamp) {
		t.Errorf("event = %+v", got)
	}
}

// Many events that differ only in their message are combined, and one object
// cannot flood the store; other objects still get theirs.
func TestFlood(t *testing.T) {
	r := start(t)
	for i := range 100 {
		r.recorder.Normal("replicaset-controller", pod("loud"), "SuccessfulCreate", "Created pod: %d", i)
	}
	r.recorder.Normal("replicaset-controller", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "quiet", UID: "uid-2"}}, "SuccessfulCreate", "Created pod: x")
	events := r.wait("the quiet object's event", func(e []*corev1.Event) bool {
		for _, ev := range e {
			if ev.InvolvedObject.Name == "quiet" {
				return true
			}
		}
		return false
	})
	if len(events) > 12 {
		t.Errorf("%d events, want at most the nine single ones, the combined one, and the other object's", len(events))
	}
	combined := 0
	for _, ev := range events {
		if strings.HasPrefix(ev.Message, "(combined from similar events): ") {
			combined++
		}
	}
	if combined != 1 {
		t.Errorf("%d combined events, want 1", combined)
	}
}

// A Kustomization that is told of many commits loses none of what is told of it
// seldom.
func TestBusyKustomization(t *testing.T) {
	r := start(t)
	ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "cluster", UID: "uid-1"}}
	for i := range 200 {
		r.recorder.Normal("kustomize-controller", ks, "ReconciliationSucceeded", "Applied revision: main@sha1:%040d", i)
		r.recorder.Normal("kustomize-controller", ks, "Progressing", "ConfigMap/default/c%d created", i)
	}
	r.recorder.Normal("kustomize-controller", ks, "Frozen", "Frozen until then")
	r.recorder.Normal("kustomize-controller", ks, "Thawed", "The freeze is over: new commits are applied")
	r.recorder.Warning("kustomize-controller", ks, "HealthCheckFailed", "web is not ready")
	r.wait("all that is seldom", func(events []*corev1.Event) bool {
		found := map[string]bool{}
		for _, ev := range events {
			found[ev.Reason+": "+ev.Message] = true
		}
		return found["Frozen: Frozen until then"] && found["Thawed: The freeze is over: new commits are applied"] && found["HealthCheckFailed: web is not ready"]
	})
}

// Events about objects without a namespace go to default; a message that is
// too long is cut.
func TestShape(t *testing.T) {
	r := start(t)
	r.recorder.Normal("node-controller", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, "Long", "%s", strings.Repeat("x", 5000))
	events := r.wait("the event", func(e []*corev1.Event) bool { return len(e) == 1 })
	if events[0].Namespace != "default" || events[0].InvolvedObject.Namespace != "" || len(events[0].Message) != 1024 {
		t.Errorf("event in %q about an object in %q with %d bytes, want default, none and 1024", events[0].Namespace, events[0].InvolvedObject.Namespace, len(events[0].Message))
	}
}

// Recording never waits, also when nobody writes.
func TestNeverWaits(t *testing.T) {
	recorder := event.NewRecorder(nil, time.Now, slog.New(slog.DiscardHandler))
	for i := range 10000 {
		recorder.Normal("test", pod(fmt.Sprint(i)), "Reason", "message")
	}
}
