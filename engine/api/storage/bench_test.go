package storage_test

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apistorage "k8s.io/apiserver/pkg/storage"

	apifields "headway.dev/engine/api/fields"
	"headway.dev/engine/api/storage"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var corePod = schema.GroupKind{Kind: "Pod"}

// openPods is the API's storage of pods on a store.
func openPods(tb testing.TB, options store.Options) (*store.Store, *storage.Storage) {
	tb.Helper()
	options.Path = filepath.Join(tb.TempDir(), "db")
	s, err := store.Open(options)
	if err != nil {
		tb.Fatal(err)
	}
	st, err := storage.New(storage.Config{Store: s, Kind: corePod, Prefix: "/pods", New: func() runtime.Object { return &corev1.Pod{} }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		st.Destroy()
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s, st
}

// selecting selects pods as a request with these selectors does.
func selecting(tb testing.TB, label, field string) apistorage.SelectionPredicate {
	tb.Helper()
	k, ok := scheme.ForKind(corePod)
	if !ok {
		tb.Fatal("there are no pods")
	}
	byLabel, err := labels.Parse(label)
	if err != nil {
		tb.Fatal(err)
	}
	byField, err := fields.ParseSelector(field)
	if err != nil {
		tb.Fatal(err)
	}
	return apistorage.SelectionPredicate{Label: byLabel, Field: byField, GetAttrs: apifields.Attrs(k)}
}

// putPod creates or replaces a pod.
func putPod(namespace, name, node string, labels map[string]string) change.Change {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "web", Image: "example.com/web:1.0"}}},
	}
	key := object.Key{GroupKind: corePod, Namespace: namespace, Name: name}
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return pod, nil }}
}

// fillPods creates n pods, of 10 namespaces and so many nodes.
func fillPods(b *testing.B, s *store.Store, n, nodes int) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		tx := change.Tx{Durability: change.Behind}
		for j := i; j < min(n, i+1000); j++ {
			tx.Changes = append(tx.Changes, putPod(fmt.Sprint("ns-", j%10), fmt.Sprintf("pod-%06d", j), fmt.Sprint("node-", j%nodes), nil))
		}
		if _, err := s.Commit(context.Background(), tx); err != nil {
			b.Fatal(err)
		}
	}
}

// processor is the time that the process has had of processors, in nanoseconds.
func processor(b *testing.B) int64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// One event of a pod, while the agents of other nodes watch the pods of theirs.
func BenchmarkEventAmongWatchers(b *testing.B) {
	for _, watchers := range []int{0, 1000, 5000} {
		b.Run(fmt.Sprint("watchers=", watchers), func(b *testing.B) {
			s, st := openPods(b, store.Options{})
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			fillPods(b, s, 1, 1)
			follow := func(field string) <-chan struct{} {
				seen := make(chan struct{}, 100)
				w, err := st.Watch(ctx, "/pods", apistorage.ListOptions{
					Recursive: true, Predicate: selecting(b, "", field), ResourceVersion: fmt.Sprint(s.Revision()),
				})
				if err != nil {
					b.Fatal(err)
				}
				go func() {
					for range w.ResultChan() {
						seen <- struct{}{}
					}
				}()
				return seen
			}
			for i := range watchers {
				follow(fmt.Sprint("spec.nodeName=other-", i))
			}
			own := follow("spec.nodeName=node-0")
			event := func() {
				tx := change.Tx{Durability: change.Behind, Changes: []change.Change{putPod("ns-0", "pod-000000", "node-0", nil)}}
				if _, err := s.Commit(ctx, tx); err != nil {
					b.Fatal(err)
				}
				<-own
			}
			for range 100 {
				event() // until all watch
			}
			began := processor(b)
			b.ResetTimer()
			for range b.N {
				event()
			}
			b.StopTimer()
			b.ReportMetric(float64(processor(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// Lists of 10,000 pods of 100 nodes: those of one node, the first 100 of all,
// one name in all namespaces.
func BenchmarkListOf10000Pods(b *testing.B) {
	s, st := openPods(b, store.Options{})
	fillPods(b, s, 10_000, 100)
	for _, test := range []struct {
		name, path, field string
		limit             int64
		want              int
	}{
		{"of a node", "/pods", "spec.nodeName=node-7", 0, 100},
		{"of a node in a namespace", "/pods/ns-7", "spec.nodeName=node-7", 0, 100},
		{"page of 100", "/pods", "", 100, 100},
		{"page of 100 in a namespace", "/pods/ns-7", "", 100, 100},
		{"of a name", "/pods", "metadata.name=pod-000123", 0, 1},
		{"of a namespace", "/pods/ns-7", "", 0, 1000},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				predicate := selecting(b, "", test.field)
				predicate.Limit = test.limit
				var list corev1.PodList
				if err := st.GetList(b.Context(), test.path, apistorage.ListOptions{Recursive: true, Predicate: predicate}, &list); err != nil || len(list.Items) != test.want {
					b.Fatalf("%d pods, want %d: %v", len(list.Items), test.want, err)
				}
			}
		})
	}
}
