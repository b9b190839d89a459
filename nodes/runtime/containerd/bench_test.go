package containerd_test

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// BenchmarkPods measures from nothing to all containers started, and back to
// nothing.
func BenchmarkPods(b *testing.B) {
	for _, count := range []int{1, 50} {
		b.Run(fmt.Sprintf("start=%d", count), func(b *testing.B) {
			n := nodetest.Start(b)
			for b.Loop() {
				startPods(b, n, count)
				b.StopTimer()
				removePods(b, n, count)
				b.StartTimer()
			}
			b.ReportMetric(float64(count*b.N)/b.Elapsed().Seconds(), "pods/s")
		})
		b.Run(fmt.Sprintf("remove=%d", count), func(b *testing.B) {
			n := nodetest.Start(b)
			for b.Loop() {
				b.StopTimer()
				startPods(b, n, count)
				b.StartTimer()
				removePods(b, n, count)
			}
			b.ReportMetric(float64(count*b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

func startPods(b *testing.B, n *nodetest.Node, count int) {
	b.Helper()
	var g errgroup.Group
	for i := range count {
		g.Go(func() error {
			pod := nodetest.Sandbox(fmt.Sprintf("p%d", i))
			if _, err := n.EnsureSandbox(b.Context(), pod); err != nil {
				return err
			}
			c, err := n.CreateContainer(b.Context(), pod, runtime.ContainerConfig{Name: "main", Image: nodetest.ToolImage, Args: []string{"sleep"}})
			if err != nil {
				return err
			}
			return n.StartContainer(b.Context(), c.ID)
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

func removePods(b *testing.B, n *nodetest.Node, count int) {
	b.Helper()
	var g errgroup.Group
	for i := range count {
		g.Go(func() error { return n.RemoveSandbox(b.Context(), nodetest.Sandbox(fmt.Sprintf("p%d", i)).PodRef) })
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}
