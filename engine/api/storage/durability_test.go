package storage_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/api/storage"
	"headway.dev/engine/store"
	"headway.dev/manifests/change"
)

// A context says how durable the API's writes are.
func TestWithDurability(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, err := store.Open(store.Options{Path: path, FlushDelay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	kind := schema.GroupKind{Kind: "ConfigMap"}
	a, err := storage.New(storage.Config{Store: s, Kind: kind, Prefix: "/configmaps", New: func() runtime.Object { return &corev1.ConfigMap{} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Destroy()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	write := func(ctx context.Context, name string) {
		t.Helper()
		if err := a.Create(ctx, "/configmaps/default/"+name, configMap(name, "1"), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	write(t.Context(), "waited")
	write(storage.WithDurability(t.Context(), change.Behind), "behind")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	disk, err := store.Open(store.Options{Path: copied})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	}()
	objs, _ := disk.List(kind, "")
	if len(objs) != 1 || objs[0].GetName() != "waited" {
		t.Errorf("on disk are %v, want only the one waited for", objs)
	}
}
