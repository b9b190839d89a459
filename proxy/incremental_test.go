package proxy_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy"
	"headway.dev/proxy/iptables"
	"headway.dev/proxy/kernel"
	"headway.dev/proxy/nftables"
	"headway.dev/proxy/service"
)

// writer is what writes the rules of one mode.
type writer interface {
	Apply(ctx context.Context, changes service.Changes) error
	Refused() map[types.NamespacedName]error
	Again()
}

func newWriter(tb testing.TB, mode proxy.Mode, cfg service.Config, log slog.Handler) writer {
	tb.Helper()
	var w writer
	var err error
	if mode == proxy.ModeIptables {
		w, err = iptables.New(cfg, slog.New(log))
	} else {
		w, err = nftables.New(cfg, slog.New(log))
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := proxy.Cleanup(context.Background()); err != nil {
			tb.Errorf("Cleanup: %v", err)
		}
	})
	return w
}

// ipv4 is config for one family.
func ipv4() service.Config {
	cfg := config
	cfg.ServiceCIDRs, cfg.ClusterCIDRs = cfg.ServiceCIDRs[:1], cfg.ClusterCIDRs[:1]
	return cfg
}

// manyServices are n services with five endpoints each, most of them elsewhere.
func manyServices(n int) (services []*corev1.Service, slices []*discoveryv1.EndpointSlice) {
	for i := range n {
		svc := newService(fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.%d.%d", i/250, i%250+1), 0)
		svc.Spec.Ports = svc.Spec.Ports[:1]
		var endpoints []discoveryv1.Endpoint
		for j := range 5 {
			e := ready(fmt.Sprintf("10.244.%d.%d", i/50, i%50*5+j+1))
			e.NodeName = nil
			endpoints = append(endpoints, e)
		}
		services, slices = append(services, svc), append(slices, sliceOf(svc, endpoints...))
	}
	return services, slices
}

func decideAll(cfg service.Config, services []*corev1.Service, slices []*discoveryv1.EndpointSlice) service.Changes {
	out := service.Changes{Of: map[types.NamespacedName]*service.Decision{}, All: true}
	for i, svc := range services {
		d := service.Decide(cfg, "", svc, slices[i:i+1])
		out.Of[d.Name] = d
	}
	return out
}

var discard = slog.DiscardHandler

func decideNone() service.Changes {
	return service.Changes{Of: map[types.NamespacedName]*service.Decision{}}
}

func decideOne(cfg service.Config, svc *corev1.Service, slice *discoveryv1.EndpointSlice) service.Changes {
	d := service.Decide(cfg, "", svc, []*discoveryv1.EndpointSlice{slice})
	return service.Changes{Of: map[types.NamespacedName]*service.Decision{d.Name: d}}
}

// One change writes the chains or elements that it is about, and nothing when it
// is about nothing in the rules.
func TestOnlyWhatChanged(t *testing.T) { eachMode(t, testOnlyWhatChanged) }

func testOnlyWhatChanged(t *testing.T, mode proxy.Mode) {
	t.Helper()
	var log strings.Builder
	cfg := ipv4()
	w := newWriter(t, mode, cfg, slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	services, slices := manyServices(50)
	if err := w.Apply(t.Context(), decideAll(cfg, services, slices)); err != nil {
		t.Fatal(err)
	}
	// 50 chains and those that are always there.
	if mode == proxy.ModeIptables && !strings.Contains(log.String(), "chains=58") {
		t.Errorf("log %q", log.String())
	}
	for _, step := range []struct {
		change func(*discoveryv1.EndpointSlice)
		want   map[proxy.Mode]string
	}{
		{func(*discoveryv1.EndpointSlice) {}, nil},
		// The endpoint goes, its Service's address leads to a chain for four: it is
		// made, with its four rules, and the old element is replaced.
		{func(s *discoveryv1.EndpointSlice) { s.Endpoints = s.Endpoints[:4] }, map[proxy.Mode]string{proxy.ModeIptables: "chains=1", proxy.ModeNftables: "operations=8"}},
		// Its own, the way to it, the refusal; or its five elements, the refusal, and the
		// chain for four, which is emptied and goes with the next change.
		{func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil }, map[proxy.Mode]string{proxy.ModeIptables: "chains=3", proxy.ModeNftables: "operations=7"}},
	} {
		log.Reset()
		slices[7] = slices[7].DeepCopy()
		step.change(slices[7])
		if err := w.Apply(t.Context(), decideOne(cfg, services[7], slices[7])); err != nil {
			t.Fatal(err)
		}
		if got := log.String(); step.want == nil && got != "" || !strings.Contains(got, step.want[mode]) {
			t.Errorf("log %q, want %q", got, step.want[mode])
		}
	}
}

// Rules of one service that the kernel refuses do not keep the others from
// working, neither at the start nor later.
func TestRefusedRules(t *testing.T) {
	servers(t, a)
	cfg := ipv4()
	if err := kernel.Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	w := newWriter(t, proxy.ModeIptables, cfg, slog.NewTextHandler(&log, nil))
	web := newService("web", vip, 0)
	first := decideOne(cfg, web, sliceOf(web, ready(a)))
	first.All = true
	for i, edit := range []func(*service.Port){
		func(p *service.Port) { p.Protocol = "nosuch" }, // in a chain that all share
		func(p *service.Port) { // in its own
			p.Internal.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("[fd00::1]:80")}
		},
	} {
		bad := newService("bad", "10.96.0.66", 0)
		changes := decideOne(cfg, bad, sliceOf(bad, ready(a)))
		for name, d := range changes.Of {
			edit(&d.Ports[0])
			d.Ports = d.Ports[:1]
			first.Of[name] = d
		}
		for range 2 {
			if err := w.Apply(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			first.All = false
			first.Of = map[types.NamespacedName]*service.Decision{}
		}
		if n := strings.Count(log.String(), "the service does not work"); n != i+1 {
			t.Errorf("refused %d times, want once each:\n%s", n, log.String())
		}
		if len(w.Refused()) != 1 || w.Refused()[types.NamespacedName{Namespace: "test", Name: "bad"}] == nil {
			t.Error("it is not told that something was refused")
		}
		eventually(t, "the other service answers", reaches(nil, vip+":80", a))
		if i == 0 {
			continue
		}
		// Both are tried again, when asked to, and then no more.
		w.Again()
		for range 2 {
			if err := w.Apply(t.Context(), first); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(log.String(), "the service does not work"); n != i+2 {
			t.Errorf("refused %d times, want once more:\n%s", n, log.String())
		}
		first.All = true
		if err := w.Apply(t.Context(), first); err != nil || len(w.Refused()) > 0 {
			t.Errorf("after the service went: %v, refused: %v", err, w.Refused())
		}
	}
}
