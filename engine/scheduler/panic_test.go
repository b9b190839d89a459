package scheduler_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/event"
	"headway.dev/engine/scheduler"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/object"
)

// poisonedStore lists a pod first that makes whoever looks at it panic.
type poisonedStore struct{ *store.Store }

func (s poisonedStore) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	objs, revision := s.Store.List(kind, namespace)
	if kind == podKind {
		objs = append([]object.Object{(*corev1.Pod)(nil)}, objs...)
	}
	return objs, revision
}

// A poisonous pod among those that are there at the start stops no other one
// from being scheduled.
func TestPanicAtTheStart(t *testing.T) {
	s, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &rig{t, s, ctx}
	r.commit(append(nodeChanges("n1", "4"), podChange("a", "1"))...)
	events := event.NewRecorder(s, time.Now, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() {
		done <- scheduler.New(scheduler.Config{Store: poisonedStore{s}, Events: events}).Run(ctx)
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	r.eventually("a is bound", func() bool { return r.pod("a").Spec.NodeName == "n1" })
}

// A pod whose placement panics says that it is pending for that, and the pods
// before and after it are scheduled.
func TestPanicOfAPlacement(t *testing.T) {
	r := startWith(t, store.Options{}, func(s *scheduler.Scheduler) { s.Poison("poison") }, nodeChanges("n1", "4")...)
	r.commit(podChange("a", "1"), podChange("poison", "1"), podChange("z", "1"))
	r.eventually("the others are bound", func() bool {
		return r.pod("a").Spec.NodeName == "n1" && r.pod("z").Spec.NodeName == "n1"
	})
	const message = "running the scheduler for this pod: panic; the log of Headway tells more"
	r.eventually("the condition", func() bool {
		c := r.scheduled("poison")
		return c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonSchedulerError && c.Message == message
	})
	r.eventually("the event", func() bool { return slices.Contains(r.events("poison"), "Warning FailedScheduling "+message) })
	r.commit(podChange("later", "1"))
	r.eventually("a later one is bound", func() bool { return r.pod("later").Spec.NodeName == "n1" })
}
