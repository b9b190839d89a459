package proxy_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"headway.dev/proxy"
	"headway.dev/proxy/iptables"
	"headway.dev/proxy/rules"
)

// state makes n services with five endpoints each.
func state(n int) (services []*corev1.Service, slices []*discoveryv1.EndpointSlice) {
	m := newMemory()
	for i := range n {
		svc := service(fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.%d.%d", i/250, i%250+1), 0)
		svc.Spec.Ports = svc.Spec.Ports[:1]
		var endpoints []discoveryv1.Endpoint
		for j := range 5 {
			endpoints = append(endpoints, ready(fmt.Sprintf("10.244.%d.%d", i/50, i%50*5+j+1)))
		}
		m.set(svc, endpoints...)
	}
	services, slices, _ = m.Snapshot()
	for _, s := range slices {
		for i := range s.Endpoints {
			s.Endpoints[i].NodeName = nil // most pods are on other nodes
		}
	}
	return services, slices
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{100, 1000} {
		services, slices := state(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				rules.Build(config, services, slices)
			}
		})
		b.Run(fmt.Sprintf("change/%d", n), func(b *testing.B) {
			compiler := rules.NewCompiler(config)
			for b.Loop() {
				slices[0] = slices[0].DeepCopy()
				compiler.Compile(services, slices)
			}
		})
	}
}

// BenchmarkApply measures from objects to kernel: everything at the start, and
// one endpoint of one service that comes and goes.
func BenchmarkApply(b *testing.B) {
	ctx := context.Background()
	newTable := func(b *testing.B) *iptables.Table {
		b.Helper()
		table, err := iptables.New(config, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		return table
	}
	for _, n := range []int{100, 1000} {
		services, slices := state(n)
		compiler := rules.NewCompiler(config)
		apply := func(b *testing.B, table *iptables.Table) {
			b.Helper()
			if err := table.Apply(ctx, compiler.Compile(services, slices)); err != nil {
				b.Fatal(err)
			}
		}
		cleanup := func() {
			if err := proxy.Cleanup(ctx); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("full/%d", n), func(b *testing.B) {
			defer cleanup()
			for b.Loop() {
				compiler = rules.NewCompiler(config)
				apply(b, newTable(b))
				b.StopTimer()
				cleanup()
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("change/%d", n), func(b *testing.B) {
			defer cleanup()
			table := newTable(b)
			apply(b, table)
			all := slices[0].Endpoints
			for i := 0; b.Loop(); i++ {
				slices[0] = slices[0].DeepCopy()
				slices[0].Endpoints = all[:4+i%2]
				apply(b, table)
			}
		})
	}
}
