package storage_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	apistorage "k8s.io/apiserver/pkg/storage"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
)

// An object that makes a watch panic ends the watches that look into it, with
// an error for their clients, and no other.
func TestPanicOfAWatch(t *testing.T) {
	s, st := openConfigMaps(t, store.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	follow := func(predicate apistorage.SelectionPredicate) watch.Interface {
		t.Helper()
		w, err := st.Watch(ctx, "/configmaps/default", apistorage.ListOptions{Recursive: true, Predicate: predicate, ResourceVersion: ""})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	looking := follow(apistorage.SelectionPredicate{
		Label: labels.Everything(), Field: fields.ParseSelectorOrDie("a=b"),
		GetAttrs: func(obj runtime.Object) (labels.Set, fields.Set, error) {
			if obj.(*corev1.ConfigMap).Name == "poison" {
				panic("poisonous object")
			}
			return nil, fields.Set{"a": "b"}, nil
		},
	})
	plain := follow(apistorage.Everything)
	for _, name := range []string{"a", "poison", "z"} {
		if _, err := s.Commit(ctx, change.Tx{Changes: []change.Change{change.Create(configMap(name, "1"), time.Now())}}); err != nil {
			t.Fatal(err)
		}
	}
	var got []watch.EventType
	for e := range looking.ResultChan() {
		got = append(got, e.Type)
	}
	if len(got) != 2 || got[0] != watch.Added || got[1] != watch.Error {
		t.Errorf("the watch that panics: got %v, want ADDED, ERROR", got)
	}
	for range 3 {
		if e := <-plain.ResultChan(); e.Type != watch.Added {
			t.Errorf("another watch: got %v", e)
		}
	}
	plain.Stop()
	for range plain.ResultChan() { // until it has ended
	}
}
