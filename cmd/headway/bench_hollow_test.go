package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/nodes/hollow"
)

// The benchmarks on hollow nodes run the nodes in the same process as the server,
// and reach it as `headway hollow` does, by TLS: cpu-s/op and heap-MiB are of both.

// fleet runs hollow nodes until the benchmark ends, and waits until all are ready.
func (s *server) fleet(nodes int) {
	s.b.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.Cfg.KubeconfigPath())
	if err != nil {
		s.b.Fatal(err)
	}
	config.QPS, config.DisableCompression = -1, true // as headway hollow
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
}

func (s *server) pods() []*corev1.Pod {
	list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Kind: "Pod"}, "")
	pods := make([]*corev1.Pod, len(list))
	for i, o := range list {
		pods[i] = o.(*corev1.Pod)
	}
	return pods
}

func bound(p *corev1.Pod) bool { return p.Spec.NodeName != "" }
func running(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil
}

// await waits, for ten minutes at most, until something holds of so many pods of the
// store. It looks at each pod once, and then at each change: what it waits for is
// measured.
func (s *server) await(pods int, holds func(*corev1.Pod) bool) {
	s.b.Helper()
	ctx, cancel := context.WithTimeout(s.b.Context(), 10*time.Minute)
	defer cancel()
	kind := schema.GroupKind{Kind: "Pod"}
	all := s.Cluster.Engine.Store().Snapshot(kind)
	changes, err := s.Cluster.Engine.Store().Follow(all.Revision(), kind)
	if err != nil {
		s.b.Fatal(err)
	}
	n := 0
	for _, o := range all.From("", "") {
		if holds(o.(*corev1.Pod)) {
			n++
		}
	}
	for n != pods {
		events, err := changes.Next(ctx)
		if err != nil {
			s.b.Fatalf("%d pods and not %d: %v\n%s", n, pods, err, s.syncs.all())
		}
		for _, e := range events {
			if old, ok := e.Old.(*corev1.Pod); ok && holds(old) {
				n--
			}
			if e.Type != object.Deleted && holds(e.Object.(*corev1.Pod)) {
				n++
			}
		}
	}
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
// `git push` until all are bound, and until all are reported as running.
func BenchmarkHollowCommit(b *testing.B) {
	for _, c := range []struct{ pods, nodes int }{
		{1000, 100},
		{2000, 100},
		{4000, 100},
		{8000, 100},
		{5000, 100},
		{1000, 1000},
		{5000, 1000},
		{10_000, 1000},
	} {
		b.Run(fmt.Sprintf("pods=%d/nodes=%d", c.pods, c.nodes), func(b *testing.B) {
			for b.Loop() {
				s := startServer(b, "apps")
				s.fleet(c.nodes)
				s.write(deployments(c.pods, "web:1"))
				s.commit()
				m := s.measure()
				s.git("push", "-q", "origin", "main")
				s.await(c.pods, bound)
				b.ReportMetric(time.Since(m.start).Seconds(), "s-bound")
				s.await(c.pods, running)
				m.report()
			}
		})
	}
}

// BenchmarkHollowRoll measures a commit that gives 1,000 pods of 100 Deployments
// another image, until no old pod is left and all new ones run.
func BenchmarkHollowRoll(b *testing.B) {
	const pods = 1000
	s := startServer(b, "apps")
	s.fleet(100)
	for round := 1; b.Loop(); round++ {
		image := func(p *corev1.Pod) bool {
			return running(p) && p.Spec.Containers[0].Image == fmt.Sprintf("web:%d", round)
		}
		if round == 1 {
			s.write(deployments(pods, "web:1"))
			s.commit()
			s.git("push", "-q", "origin", "main")
			s.await(pods, running)
			round++
		}
		s.write(deployments(pods, fmt.Sprintf("web:%d", round)))
		s.commit()
		m := s.measure()
		s.git("push", "-q", "origin", "main")
		s.await(pods, image)
		s.await(0, func(p *corev1.Pod) bool { return !image(p) })
		m.report()
	}
}

// BenchmarkHollowOne measures what the loss of one pod among 10,000 costs until
// another one runs in its place: a median of 20, what is written to the store's
// file system, and how many changes of objects there are.
func BenchmarkHollowOne(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("pods=%d", n), func(b *testing.B) {
			s := startServer(b, "apps")
			s.fleet(1000)
			s.write(deployments(n, "web:1"))
			s.commit()
			s.git("push", "-q", "origin", "main")
			s.await(n, running)
			s.until(func() bool { return s.applied(s.head()) })
			<-time.After(15 * time.Second) // what follows a commit is over
			for b.Loop() {
				const times = 20
				written, revision, m := writtenBytes(b), s.Cluster.Engine.Store().Revision(), s.measure()
				for range times {
					pods := s.pods()
					victim := pods[slices.IndexFunc(pods, running)]
					key := object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: victim.Namespace, Name: victim.Name}
					if _, err := s.Cluster.Engine.Store().Commit(context.Background(), change.Tx{Changes: []change.Change{change.Delete(key, metav1.DeleteOptions{}, time.Now())}}); err != nil {
						b.Fatal(err)
					}
					s.await(n, running)
				}
				cpu := usage(b).self - m.before.self
				b.ReportMetric(time.Since(m.start).Seconds()*1000/times, "ms-replaced")
				b.ReportMetric(float64(cpu.Microseconds())/times, "cpu-us/pod")
				b.ReportMetric(float64(writtenBytes(b)-written)/times, "written-B/pod")
				b.ReportMetric(float64(s.Cluster.Engine.Store().Revision()-revision)/times, "changes/pod")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// BenchmarkHollowIdle measures a cluster in which nothing happens, for half a minute:
// the share of one core that it takes, and its memory.
func BenchmarkHollowIdle(b *testing.B) {
	for _, c := range []struct{ pods, nodes int }{{0, 1}, {0, 1000}, {10_000, 1000}} {
		b.Run(fmt.Sprintf("pods=%d/nodes=%d", c.pods, c.nodes), func(b *testing.B) {
			s := startServer(b, "apps")
			s.fleet(c.nodes)
			if c.pods > 0 {
				s.write(deployments(c.pods, "web:1"))
				s.commit()
				s.git("push", "-q", "origin", "main")
				s.await(c.pods, running)
			}
			<-time.After(20 * time.Second)
			for b.Loop() {
				debug.FreeOSMemory()
				m := s.measure()
				<-time.After(30 * time.Second)
				b.ReportMetric(100*(usage(b).self-m.before.self).Seconds()/time.Since(m.start).Seconds(), "%-of-a-core")
				debug.FreeOSMemory()
				b.ReportMetric(memory(b, "VmRSS:"), "MiB")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// BenchmarkHollowCronJobs measures the minute in which 1,000 CronJobs are due: how
// long after it begins all Jobs have been made, and what they cost.
func BenchmarkHollowCronJobs(b *testing.B) {
	const jobs = 1000
	s := startServer(b, "apps")
	s.fleet(100)
	var text strings.Builder
	for i := range jobs {
		fmt.Fprintf(&text, "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: tick-%d, namespace: default}\nspec: {schedule: \"* * * * *\", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: \"job:1\"}]}}}}}\n", i)
	}
	s.write(map[string]string{"apps/all.yaml": text.String()})
	s.commit()
	s.push(func() bool {
		list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Group: "batch", Kind: "CronJob"}, "")
		return len(list) == jobs
	})
	made := func() int {
		list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Group: "batch", Kind: "Job"}, "")
		return len(list)
	}
	for b.Loop() {
		had := made()
		minute := time.Now().Truncate(time.Minute).Add(time.Minute)
		<-time.After(time.Until(minute.Add(-time.Second)))
		had = max(had, made())
		m := s.measure()
		s.until(func() bool { return made() >= had+jobs })
		b.ReportMetric(time.Since(minute).Seconds(), "s-made")
		<-time.After(time.Until(minute.Add(55 * time.Second)))
		m.report()
	}
}

// hollowMeasure is what a change took so far.
type hollowMeasure struct {
	b      *testing.B
	before processor
	start  time.Time
}

func (s *server) measure() hollowMeasure {
	s.b.Helper()
	resetPeak(s.b)
	return hollowMeasure{s.b, usage(s.b), time.Now()}
}

// report reports the time, the processor time and the peak of memory since.
func (m hollowMeasure) report() {
	m.b.Helper()
	m.b.ReportMetric(time.Since(m.start).Seconds(), "s")
	m.b.ReportMetric((usage(m.b).self - m.before.self).Seconds(), "cpu-s/op")
	m.b.ReportMetric(memory(m.b, "VmHWM:"), "peak-MiB")
	m.b.ReportMetric(0, "ns/op") // includes what prepares the story
}

// until waits, for ten minutes at most. It looks rarely if that takes long: what it waits
// for is measured.
func (s *server) until(done func() bool) {
	s.b.Helper()
	for deadline := time.Now().Add(10 * time.Minute); ; {
		began := time.Now()
		if done() {
			return
		}
		if began.After(deadline) {
			s.b.Fatalf("not after ten minutes\n%s", s.syncs.all())
		}
		<-time.After(max(5*time.Millisecond, min(20*time.Since(began), 100*time.Millisecond)))
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

// memory is a figure of this process's memory, in MiB.
func memory(b *testing.B, figure string) float64 {
	b.Helper()
	return float64(procFigure(b, "/proc/self/status", figure)) / 1024
}

// writtenBytes is what this process had written to file systems.
func writtenBytes(b *testing.B) int64 {
	b.Helper()
	return procFigure(b, "/proc/self/io", "write_bytes:")
}

func procFigure(b *testing.B, file, figure string) int64 {
	b.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == figure {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatalf("%s has no %s", file, figure)
	return 0
}
