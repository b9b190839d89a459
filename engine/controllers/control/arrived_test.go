package control_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// growing are kinds of which one comes later, as that of a definition does whose names are
// not accepted when its first objects are stored, together with it.
type growing struct {
	scheme.Registry
	mu     sync.Mutex
	hidden string
}

// Kinds implements control.Kinds.
func (g *growing) Kinds() []*kind.Kind {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*kind.Kind
	for _, k := range g.Registry.Kinds() {
		if k.Kind != g.hidden {
			list = append(list, k)
		}
	}
	return list
}

// Objects that were stored before the controllers began, of a kind that is served only
// later, are told of when it is.
func TestObjectsOfAKindThatComesLater(t *testing.T) {
	s, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	create := func(obj object.Object) {
		t.Helper()
		if _, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{change.Create(obj, time.Now())}}); err != nil {
			t.Fatal(err)
		}
	}
	create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "before", Labels: map[string]string{"app": "web"}}})
	kinds := &growing{hidden: "ConfigMap"}
	feed := control.NewFeed(s, kinds, slog.New(slog.DiscardHandler))
	index := feed.Index("app", func(obj object.Object) []string { return []string{obj.GetLabels()["app"]} })
	looked := make(chan object.Key, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- control.Run(ctx, control.Env{Store: s, Kinds: kinds, Feed: feed, Now: time.Now, Log: slog.New(slog.DiscardHandler)}, []control.Controller{{
			Name: "test",
			Keys: func(ev object.Event, add func(object.Key)) { add(ev.Key) },
			Reconcile: func(_ context.Context, key object.Key) (time.Duration, error) {
				looked <- key
				return 0, nil
			},
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	over := time.After(time.Minute)
	await := func(name string) {
		t.Helper()
		for {
			select {
			case key := <-looked:
				if key.Name == name {
					return
				}
			case <-over:
				t.Fatalf("%s is not told of within a minute", name)
			}
		}
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "begun"}})
	await("begun")
	kinds.mu.Lock()
	kinds.hidden = ""
	kinds.mu.Unlock()
	create(&apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}})
	await("before")
	if got := index.Get("web"); len(got) != 1 || got[0].GetName() != "before" {
		t.Errorf("the index has %d objects", len(got))
	}
}
