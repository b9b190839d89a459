package gc_test

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
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/gc"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// counted counts how often a kind is listed.
type counted struct {
	control.Store
	lists atomic.Int32
}

func (c *counted) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	if kind == control.ConfigMap {
		c.lists.Add(1)
	}
	return c.Store.List(kind, namespace)
}

// TestAbsentOwners: however many objects have an owner that is not there, what may be one
// is not listed for each of them.
func TestAbsentOwners(t *testing.T) {
	s, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	const absent = 50
	var changes []change.Change
	for i := range absent {
		changes = append(changes, change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: fmt.Sprintf("left-%d", i),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "none", UID: "none"}},
		}}, time.Now()))
	}
	if _, err := s.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
		t.Fatal(err)
	}
	watcher, err := s.Watch(0, control.ConfigMap)
	if err != nil {
		t.Fatal(err)
	}
	st, kinds, log := &counted{Store: s}, &scheme.Registry{}, slog.New(slog.DiscardHandler)
	env := control.Env{Store: st, Kinds: kinds, Feed: control.NewFeed(st, kinds, log), Now: time.Now, Log: log}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- control.Run(ctx, env, []control.Controller{gc.New(env)}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for gone := 0; gone < absent; {
		wait, stop := context.WithTimeout(t.Context(), time.Minute)
		events, err := watcher.Next(wait)
		stop()
		if err != nil {
			t.Fatalf("%d of %d are collected: %v", gone, absent, err)
		}
		for _, ev := range events {
			if ev.Type == object.Deleted {
				gone++
			}
		}
	}
	if n := st.lists.Load(); n > 2 {
		t.Errorf("ConfigMaps were listed %d times for %d that go, want no more than for the feed", n, absent)
	}
}
