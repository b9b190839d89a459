package storage_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	apistorage "k8s.io/apiserver/pkg/storage"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// A watch whose client does not read keeps a few states alive, whatever
// changes meanwhile, and is told to list again once the history has gone on.
func TestStalledWatchIsBounded(t *testing.T) {
	const size, changes = 64 << 10, 300
	s, st := openConfigMaps(t, store.Options{HistoryBytes: 16 * size})
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

// A watch whose client does not even read what is there when it begins lets go
// of that after a minute, and tells the client to begin again. One that reads
// slowly gets all.
func TestStalledInitialListIsBounded(t *testing.T) {
	const objects = 100
	for name, test := range map[string]struct {
		pauses []time.Duration
		whole  bool
	}{
		"stalled": {[]time.Duration{2 * time.Minute}, false},
		"slow":    {[]time.Duration{50 * time.Second, 50 * time.Second, 50 * time.Second}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, st := openConfigMaps(t, store.Options{})
				var changes []change.Change
				for i := range objects {
					changes = append(changes, change.Create(configMap(fmt.Sprintf("c%03d", i), "0"), time.Now()))
				}
				if _, err := s.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
					t.Fatal(err)
				}
				w, err := st.Watch(t.Context(), "/configmaps", apistorage.ListOptions{Recursive: true, Predicate: apistorage.Everything})
				if err != nil {
					t.Fatal(err)
				}
				defer w.Stop()
				sent := 0
				for ; ; sent++ {
					if sent < len(test.pauses) {
						<-time.After(test.pauses[sent])
					}
					if test.whole && sent == objects {
						return
					}
					e := <-w.ResultChan()
					if e.Type == watch.Error {
						if status, ok := e.Object.(*metav1.Status); !ok || status.Reason != metav1.StatusReasonExpired {
							t.Errorf("the watch ended with %+v", e.Object)
						}
						break
					}
					if e.Type != watch.Added {
						t.Fatalf("got %+v", e)
					}
				}
				if test.whole || sent > 20 {
					t.Errorf("got %d objects before the error", sent)
				}
			})
		})
	}
}
