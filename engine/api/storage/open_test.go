package storage_test

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/api/storage"
	"headway.dev/engine/store"
)

// openConfigMaps opens a store and the storage of its ConfigMaps, until the
// test ends.
func openConfigMaps(t *testing.T, options store.Options) (*store.Store, *storage.Storage) {
	t.Helper()
	options.Path = filepath.Join(t.TempDir(), "db")
	s, err := store.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	st, err := storage.New(storage.Config{
		Store: s, Kind: schema.GroupKind{Kind: "ConfigMap"}, Prefix: "/configmaps", New: func() runtime.Object { return &corev1.ConfigMap{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Destroy)
	return s, st
}
