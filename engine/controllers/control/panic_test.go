package control_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// An index, a handler of events and a reconcile that panic are told of, and
// keep no other object from its reconcile.
func TestPanicsOfControllers(t *testing.T) {
	var told atomic.Int32
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { told.Add(1) }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })
	s, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	feed := control.NewFeed(s, &scheme.Registry{}, slog.New(slog.DiscardHandler))
	feed.Index("values", func(obj object.Object) []string {
		if obj.GetName() == "index" {
			panic("poisonous index")
		}
		return nil
	})
	looked := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- control.Run(ctx, control.Env{Store: s, Feed: feed, Now: time.Now, Log: slog.New(slog.DiscardHandler)}, []control.Controller{{
			Name: "test",
			Keys: func(ev object.Event, add func(object.Key)) {
				if ev.Key.Name == "keys" {
					panic("poisonous event")
				}
				add(ev.Key)
			},
			Reconcile: func(_ context.Context, key object.Key) (time.Duration, error) {
				if key.Name == "reconcile" {
					panic("poisonous object")
				}
				looked <- key.Name
				return 0, nil
			},
		}})
	}()
	for i, name := range []string{"index", "keys", "reconcile"} {
		for _, name := range []string{name, fmt.Sprintf("good-%d", i)} {
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
			if _, err := s.Commit(ctx, change.Tx{Changes: []change.Change{change.Create(cm, time.Now())}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	limit := time.After(30 * time.Second)
	for seen := map[string]bool{}; !seen["index"] || !seen["good-0"] || !seen["good-1"] || !seen["good-2"]; {
		select {
		case name := <-looked:
			seen[name] = true
		case <-limit:
			t.Fatalf("reconciled only %v", seen)
		}
	}
	if told.Load() < 3 {
		t.Errorf("%d panics were told, want 3 and more", told.Load())
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
