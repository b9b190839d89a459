package proxy_test

import (
	"fmt"
	"log/slog"
	"testing"

	"headway.dev/proxy"
	"headway.dev/proxy/service"
)

func BenchmarkDecide(b *testing.B) {
	services, slices := manyServices(1)
	for b.Loop() {
		service.Decide(config, "", services[0], slices)
	}
}

// BenchmarkApply measures from objects to kernel: everything at the start, and
// one endpoint of one service that comes and goes, until the kernel has it. The
// CPU is that of this process and of the programs that it starts.
func BenchmarkApply(b *testing.B) {
	cfg := ipv4()
	discard := slog.DiscardHandler
	for _, mode := range modes {
		for _, n := range []int{100, 1000, 5000, 10000} {
			services, slices := manyServices(n)
			b.Run(fmt.Sprintf("%s/full/%d", mode, n), func(b *testing.B) {
				cpu := newCPU(b)
				for b.Loop() {
					b.StopTimer()
					w := newWriter(b, mode, cfg, discard)
					if err := proxy.Cleanup(b.Context()); err != nil {
						b.Fatal(err)
					}
					cpu.start()
					b.StartTimer()
					if err := w.Apply(b.Context(), decideAll(cfg, services, slices)); err != nil {
						b.Fatal(err)
					}
					cpu.stop()
				}
				cpu.report()
			})
			b.Run(fmt.Sprintf("%s/change/%d", mode, n), func(b *testing.B) {
				w := newWriter(b, mode, cfg, discard)
				if err := w.Apply(b.Context(), decideAll(cfg, services, slices)); err != nil {
					b.Fatal(err)
				}
				cpu := newCPU(b)
				slice := slices[0].DeepCopy()
				all := slice.Endpoints
				b.ResetTimer()
				cpu.start()
				for i := 0; b.Loop(); i++ {
					slice.Endpoints = all[:4+i%2]
					if err := w.Apply(b.Context(), decideOne(cfg, services[0], slice)); err != nil {
						b.Fatal(err)
					}
				}
				cpu.stop()
				cpu.report()
			})
		}
	}
}
