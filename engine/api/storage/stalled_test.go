package storage_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	apistorage "k8s.io/apiserver/pkg/storage"

	"headway.dev/engine/api/storage"
	"headway.dev/engine/store"
	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
)

// A watch whose client does not read keeps a few states alive, whatever
// changes meanwhile, and is told to list again once the history has gone on.
func TestStalledWatchIsBounded(t *testing.T) {
	const size, changes = 64 << 10, 300
	s, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db"), HistoryBytes: 16 * size})
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
	defer st.Destroy()
	commit := func(c change.Change) {
		t.Helper()
		if _, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{c}}); err != nil {
			t.Fatal(err)
		}
	}
	commit(change.Create(configMap("a", "0"), time.Now()))
	w, err := st.Watch(t.Context(), "/configmaps/default", apistorage.ListOptions{Recursive: true, Predicate: apistorage.Everything, ResourceVersion: ""})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	key := object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "default", Name: "a"}
	for i := range changes {
		commit(change.Patch(key, func(o object.Object) bool {
			o.(*corev1.ConfigMap).Data = map[string]string{"data": strings.Repeat(string(rune('a'+i%26)), size)}
			return true
		}))
	}
	sent := 0
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			if status, ok := e.Object.(*metav1.Status); !ok || status.Reason != metav1.StatusReasonExpired {
				t.Errorf("the watch ended with %+v", e.Object)
			}
			if sent > 30 {
				t.Errorf("%d states of %d were kept for a client that did not read", sent, changes)
			}
			return
		}
		if sent++; sent > changes {
			break // all came
		}
	}
	t.Errorf("the watch was not told to list again after %d events", sent)
}
