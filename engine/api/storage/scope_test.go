package storage_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
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

// selection is a request for a part of the pods.
type selection struct{ path, namespace, label, field string }

// selections are requests of all sorts.
func selections() (all []selection) {
	for _, namespace := range []string{"", "a", "b"} {
		for _, label := range []string{"", "app=web"} {
			for _, field := range []string{
				"", "spec.nodeName=n1", "spec.nodeName=", "spec.nodeName!=n1", "metadata.name=p3", "metadata.namespace=b",
				"metadata.name=p4,spec.nodeName=n2", "status.phase=Running",
			} {
				path := "/pods" + strings.TrimSuffix("/"+namespace, "/")
				all = append(all, selection{path, namespace, label, field})
			}
		}
	}
	return all
}

// A watch sends what a filter over all events leaves, whatever its path and its
// selectors: a pod that is bound to a node appears there, one that loses a label
// or moves on disappears. A bookmark afterwards is at the newest revision.
func TestWatchesEqualAFilter(t *testing.T) {
	requests := selections()
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
		c := putPod(pick("a", "b"), pick("p3", "p4", "p5"), pick("", "n1", "n2"), map[string]string{"app": pick("web", "db")})
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

// A list has what a filter over all objects leaves, whole and in pages, and a
// page of an unfiltered list tells how many objects remain.
func TestListsEqualAFilter(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	s, st := openPods(t, store.Options{})
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	for i := range 60 {
		c := putPod(pick("a", "b", "c"), fmt.Sprint("p", i%9), pick("", "n1", "n2"), map[string]string{"app": pick("web", "db")})
		if _, err := s.Commit(t.Context(), change.Tx{Durability: change.Behind, Changes: []change.Change{c}}); err != nil {
			t.Fatal(err)
		}
	}
	pods, _ := s.List(corePod, "")
	revision := fmt.Sprint(s.Revision())
	for _, q := range selections() {
		predicate := selecting(t, q.label, q.field)
		var want []string
		for _, obj := range pods {
			if matched, err := predicate.Matches(obj); err == nil && matched && (q.namespace == "" || q.namespace == obj.GetNamespace()) {
				want = append(want, obj.GetNamespace()+"/"+obj.GetName())
			}
		}
		for _, limit := range []int64{0, 1, 3, 7, 100} {
			var got []string
			predicate := predicate
			predicate.Limit = limit
			for {
				var list corev1.PodList
				if err := st.GetList(t.Context(), q.path, apistorage.ListOptions{Recursive: true, Predicate: predicate}, &list); err != nil {
					t.Fatal(err)
				}
				for i := range list.Items {
					got = append(got, list.Items[i].Namespace+"/"+list.Items[i].Name)
				}
				if list.ResourceVersion != revision {
					t.Errorf("%+v: a page is at %s, want %s", q, list.ResourceVersion, revision)
				}
				left := int64(len(want) - len(got))
				if remaining := list.RemainingItemCount; (remaining != nil) != (predicate.Empty() && list.Continue != "") || remaining != nil && *remaining != left {
					t.Errorf("%+v in pages of %d: %d remain, the page says %v", q, limit, left, remaining)
				}
				if list.Continue == "" {
					break
				}
				predicate.Continue = list.Continue
				if _, err := s.Commit(t.Context(), change.Tx{Durability: change.Behind, Changes: []change.Change{putPod("c", "late", "n1", nil), removePod("c", "late")}}); err != nil {
					t.Fatal(err)
				}
			}
			revision = fmt.Sprint(s.Revision())
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%+v in pages of %d: got %v, want %v", q, limit, got, want)
			}
		}
	}
}

// A list by node, name or namespace looks at no object of others, however many
// there are; neither does a watch that begins with what is there.
func TestListsLookAtNoOthers(t *testing.T) {
	s, st := openPods(t, store.Options{})
	tx := change.Tx{Durability: change.Behind}
	for i := range 1000 {
		tx.Changes = append(tx.Changes, putPod(fmt.Sprint("ns-", i%10), fmt.Sprintf("p%04d", i), fmt.Sprint("n", i%100), nil))
	}
	if _, err := s.Commit(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, field string
		want        int
	}{
		{"/pods", "spec.nodeName=n7", 10},
		{"/pods/ns-7", "spec.nodeName=n7", 10},
		{"/pods/ns-8", "spec.nodeName=n7", 0},
		{"/pods", "metadata.name=p0042", 1},
		{"/pods", "metadata.namespace=ns-3,status.phase=", 100},
	} {
		looks := 0
		predicate := selecting(t, "", test.field)
		attrs := predicate.GetAttrs
		predicate.GetAttrs = func(obj runtime.Object) (labels.Set, fields.Set, error) {
			looks++
			return attrs(obj)
		}
		var list corev1.PodList
		if err := st.GetList(t.Context(), test.path, apistorage.ListOptions{Recursive: true, Predicate: predicate}, &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != test.want || looks != test.want {
			t.Errorf("%s %s: %d pods of %d looked at, want %d", test.path, test.field, len(list.Items), looks, test.want)
		}
		looks = 0
		predicate.AllowWatchBookmarks = true
		wanted := true
		w, err := st.Watch(t.Context(), test.path, apistorage.ListOptions{Recursive: true, Predicate: predicate, SendInitialEvents: &wanted})
		if err != nil {
			t.Fatal(err)
		}
		for range test.want {
			if e := <-w.ResultChan(); e.Type != watch.Added {
				t.Errorf("%s %s: %s", test.path, test.field, described(e))
			}
		}
		if e := <-w.ResultChan(); e.Type != watch.Bookmark || looks != test.want {
			t.Errorf("%s %s: %s after a look at %d pods, want %d", test.path, test.field, described(e), looks, test.want)
		}
		w.Stop()
	}
}
