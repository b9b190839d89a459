package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/nodes/hollow"
)

// The benchmarks on hollow nodes run the nodes in the same process as the server,
// and reach it as `headway hollow` does, by TLS: cpu-s/op and heap-MiB are of both.

// fleet runs hollow nodes until the benchmark ends, and waits until all are ready.
func (s *server) fleet(nodes int) *hollow.Fleet {
	s.b.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.Cfg.KubeconfigPath())
	if err != nil {
		s.b.Fatal(err)
	}
	config.QPS = -1
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		s.b.Fatal(err)
	}
	ready := make(chan struct{})
	f, err := hollow.New(hollow.Config{
		Client: client, Nodes: nodes, Prefix: "hollow-", Log: slog.New(slog.DiscardHandler), Version: "v1.37.2", RunFor: time.Second,
		Capacity: corev1.ResourceList{"cpu": resource.MustParse("32"), "memory": resource.MustParse("256Gi"), "pods": resource.MustParse("110")},
		Registered: func(_ string, count int) {
			if count == nodes {
				close(ready)
			}
		},
	})
	if err != nil {
		s.b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.Run(ctx); err != nil {
			s.b.Error(err)
		}
	})
	s.b.Cleanup(func() { cancel(); wg.Wait() })
	<-ready
	return f
}

// running counts the pods that the store says are running.
func (s *server) running() int {
	list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Kind: "Pod"}, "")
	n := 0
	for _, o := range list {
		if o.(*corev1.Pod).Status.Phase == corev1.PodRunning {
			n++
		}
	}
	return n
}

// deployments are files of Deployments of ten pods each.
func deployments(pods int, image string) map[string]string {
	var b strings.Builder
	for i := range pods / 10 {
		fmt.Fprintf(&b, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web-%[1]d, namespace: default}\nspec: {replicas: 10, selector: {matchLabels: {app: web-%[1]d}}, "+
			"template: {metadata: {labels: {app: web-%[1]d}}, spec: {containers: [{name: web, image: %[2]q, resources: {requests: {cpu: 100m, memory: 64Mi}}}]}}}\n", i, image)
	}
	return map[string]string{"apps/all.yaml": b.String()}
}

// BenchmarkHollowCommit measures a commit that brings many pods, from the start of
// `git push` until all are reported as running.
func BenchmarkHollowCommit(b *testing.B) {
	for _, c := range []struct{ pods, nodes int }{{1000, 100}, {5000, 100}, {5000, 1000}, {10_000, 1000}} {
		b.Run(fmt.Sprintf("pods=%d/nodes=%d", c.pods, c.nodes), func(b *testing.B) {
			for b.Loop() {
				s := startServer(b, "apps")
				s.fleet(c.nodes)
				s.write(deployments(c.pods, "web:1"))
				s.commit()
				resetPeak(b)
				before, start := usage(b), time.Now()
				s.git("push", "-q", "origin", "main")
				for s.running() < c.pods {
					<-time.After(10 * time.Millisecond)
				}
				took, cpu := time.Since(start), usage(b).self-before.self
				b.ReportMetric(took.Seconds(), "s-running")
				b.ReportMetric(cpu.Seconds(), "cpu-s/op")
				b.ReportMetric(peak(b), "peak-MiB")
			}
		})
	}
}

// resetPeak forgets the peak of this process's memory.
func resetPeak(b *testing.B) {
	b.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200); err != nil {
		b.Fatal(err)
	}
}

// peak is the largest amount of memory that this process had since, in MiB.
func peak(b *testing.B) float64 {
	b.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatal("the kernel tells no peak")
	return 0
}
