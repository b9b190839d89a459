package storage_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	apistorage "k8s.io/apiserver/pkg/storage"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// removePod removes a pod, if there is one.
func removePod(namespace, name string) change.Change {
	key := object.Key{GroupKind: corePod, Namespace: namespace, Name: name}
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return nil, nil }}
}

// described is an event as it is compared.
func described(e watch.Event) string {
	obj := e.Object
	if c, ok := obj.(runtime.CacheableObject); ok {
		obj = c.GetObject()
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Sprintf("%s %+v", e.Type, obj)
	}
	if e.Type == watch.Bookmark {
		return string(watch.Bookmark)
	}
	return fmt.Sprintf("%s %s/%s on %q %v at %s", e.Type, pod.Namespace, pod.Name, pod.Spec.NodeName, pod.Labels, pod.ResourceVersion)
}

// filtered is what a watch should make of an event, as Kubernetes describes it.
func filtered(e object.Event, selects func(object.Object) bool) (string, bool) {
	now := e.Type != object.Deleted && selects(e.Object)
	before := e.Old != nil && selects(e.Old)
	out := watch.Event{Object: e.Object}
	switch {
	case now && before:
		out.Type = watch.Modified
	case now:
		out.Type = watch.Added
	case before && e.Type == object.Deleted:
		out.Type = watch.Deleted
	case before:
		out.Type = watch.Deleted
		old := e.Old.DeepCopyObject().(object.Object)
		old.SetResourceVersion(strconv.FormatUint(e.Revision, 10))
		out.Object = old
	default:
		return "", false
	}
	return described(out), true
}

// A watch sends what a filter over all events leaves, whatever its path and its
// selectors: a pod that is bound to a node appears there, one that loses a label
// or moves on disappears. A bookmark afterwards is at the newest revision.
func TestWatchesEqualAFilter(t *testing.T) {
	type request struct{ path, namespace, label, field string }
	var requests []request
	for _, path := range []request{{path: "/pods"}, {path: "/pods/a", namespace: "a"}} {
		for _, label := range []string{"", "app=web"} {
			for _, field := range []string{"", "spec.nodeName=n1", "spec.nodeName=", "spec.nodeName!=n1", "metadata.name=p", "metadata.namespace=b", "metadata.name=q,spec.nodeName=n2", "status.phase=Running"} {
				requests = append(requests, request{path.path, path.namespace, label, field})
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 9))
	s, st := openPods(t, store.Options{})
	start := s.Revision()
	all, err := s.Watch(0, corePod)
	if err != nil {
		t.Fatal(err)
	}
	watches := make([]watch.Interface, len(requests))
	for i, q := range requests {
		predicate := selecting(t, q.label, q.field)
		predicate.AllowWatchBookmarks = true
		watches[i], err = st.Watch(t.Context(), q.path, apistorage.ListOptions{Recursive: true, Predicate: predicate, ResourceVersion: fmt.Sprint(start)})
		if err != nil {
			t.Fatal(err)
		}
		defer watches[i].Stop()
	}
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	for range 300 {
		c := putPod(pick("a", "b"), pick("p", "q", "r"), pick("", "n1", "n2"), map[string]string{"app": pick("web", "db")})
		if r.IntN(5) == 0 {
			c = removePod(c.Key.Namespace, c.Key.Name)
		}
		if _, err := s.Commit(t.Context(), change.Tx{Durability: change.Behind, Changes: []change.Change{c}}); err != nil {
			t.Fatal(err)
		}
	}
	events, err := all.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range requests {
		predicate := selecting(t, q.label, q.field)
		sent := 0
		for _, e := range events {
			want, ok := filtered(e, func(obj object.Object) bool {
				matched, err := predicate.Matches(obj)
				return matched && err == nil && (q.namespace == "" || q.namespace == obj.GetNamespace())
			})
			if !ok {
				continue
			}
			if got := described(<-watches[i].ResultChan()); got != want {
				t.Fatalf("%+v: got %s, want %s", q, got, want)
			}
			sent++
		}
		if none := q.field == "status.phase=Running" || q.namespace == "a" && q.field == "metadata.namespace=b"; none != (sent == 0) {
			t.Errorf("%+v: %d events", q, sent)
		}
		for {
			if err := st.RequestWatchProgress(t.Context()); err != nil {
				t.Fatal(err)
			}
			e := <-watches[i].ResultChan()
			if e.Type != watch.Bookmark {
				t.Fatalf("%+v: got %s, which no filter leaves", q, described(e))
			}
			if e.Object.(*corev1.Pod).ResourceVersion == fmt.Sprint(s.Revision()) {
				break
			}
		}
	}
}

// A client that is a little behind with the pods of its node is not told to
// list again because the pods of other nodes changed often meanwhile.
func TestOthersChangesExpireNoWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, st := openPods(t, store.Options{History: 10})
		commit := func(c change.Change) {
			t.Helper()
			if _, err := s.Commit(t.Context(), change.Tx{Durability: change.Behind, Changes: []change.Change{c}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		w, err := st.Watch(t.Context(), "/pods", apistorage.ListOptions{
			Recursive: true, Predicate: selecting(t, "", "spec.nodeName=n1"), ResourceVersion: fmt.Sprint(s.Revision()),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		const own = 11
		for i := range own {
			commit(putPod("a", fmt.Sprint("own-", i), "n1", nil)) // as many as wait for the client, and one
		}
		for i := range 50 {
			commit(putPod("b", fmt.Sprint("other-", i%5), "n2", nil))
		}
		commit(putPod("a", "last", "n1", nil))
		for i := range own + 1 {
			e := <-w.ResultChan()
			if e.Type != watch.Added {
				t.Fatalf("event %d of %d: %s", i+1, own+1, described(e))
			}
		}
	})
}
