package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// benchPod is about as large as the pod of a small Deployment.
func benchPod(name string) *corev1.Pod {
	small := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: "8f3a7c1e-2f64-4b1a-9d55-0c8d8a1f7e11",
			Labels:          map[string]string{"app": "web", "pod-template-hash": "5d9c7b6f4"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d9c7b6f4", UID: "1d0c"}},
		},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, NodeName: "node-1", ServiceAccountName: "default",
			Containers: []corev1.Container{{
				Name: "web", Image: "example.com/web:1.0", Resources: corev1.ResourceRequirements{Requests: small, Limits: small},
				Ports: []corev1.ContainerPort{{ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
				Env:   []corev1.EnvVar{{Name: "GREETING", Value: "hello"}},
			}},
		},
	}
}

func createPod(name string) change.Change {
	pod := benchPod(name)
	key := object.Key{GroupKind: podKind, Namespace: "default", Name: name}
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return pod, nil }}
}

func fill(b *testing.B, s *store.Store, n int) {
	b.Helper()
	for i := 0; i < n; i += 500 {
		var tx change.Tx
		for j := i; j < min(n, i+500); j++ {
			tx.Changes = append(tx.Changes, createPod(fmt.Sprintf("pod-%06d", j)))
		}
		if _, err := s.Commit(context.Background(), tx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	for _, d := range []change.Durability{change.Wait, change.Behind} {
		for _, writers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/writers=%d", [...]string{"wait", "behind"}[d], writers), func(b *testing.B) {
				s := tempStore(b)
				var n atomic.Int64
				var group sync.WaitGroup
				b.ResetTimer()
				for range writers {
					group.Go(func() {
						for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
							tx := change.Tx{Durability: d, Changes: []change.Change{createPod(fmt.Sprint("pod-", i))}}
							if _, err := s.Commit(context.Background(), tx); err != nil {
								b.Error(err)
							}
						}
					})
				}
				group.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
			})
		}
	}
}

func BenchmarkList10k(b *testing.B) {
	s := tempStore(b)
	fill(b, s, 10_000)
	for b.Loop() {
		if objs, _ := s.List(podKind, ""); len(objs) != 10_000 {
			b.Fatal(len(objs))
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := tempStore(b)
	fill(b, s, 10_000)
	key := object.Key{GroupKind: podKind, Namespace: "default", Name: "pod-005000"}
	for b.Loop() {
		if s.Get(key) == nil {
			b.Fatal("not found")
		}
	}
}

// One event to 1000 watchers.
func BenchmarkWatch1000(b *testing.B) {
	s := tempStore(b)
	ctx, cancel := context.WithCancel(context.Background())
	var group, seen sync.WaitGroup
	for range 1000 {
		w, err := s.Watch(0, podKind)
		if err != nil {
			b.Fatal(err)
		}
		group.Go(func() {
			for {
				events, err := w.Next(ctx)
				if err != nil {
					return
				}
				for range events {
					seen.Done()
				}
			}
		})
	}
	for b.Loop() {
		seen.Add(1000)
		if _, err := s.Commit(ctx, change.Tx{Durability: change.Behind, Changes: []change.Change{createPod("a")}}); err != nil {
			b.Fatal(err)
		}
		seen.Wait()
	}
	cancel()
	group.Wait()
}

func BenchmarkOpen10k(b *testing.B) {
	path := filepath.Join(b.TempDir(), "db")
	s, err := store.Open(store.Options{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, s, 10_000)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := store.Open(store.Options{Path: path})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
