package proxy_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/proxy"
	"headway.dev/proxy/kernel"
	"headway.dev/proxy/service"
)

// In the mode nftables, too, a Service that the kernel refuses keeps no other from
// working: not those of the same transaction, and not later ones.
func TestRefusedElements(t *testing.T) {
	servers(t, a, b)
	cfg := ipv4()
	if err := kernel.Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	w := newWriter(t, proxy.ModeNftables, cfg, slog.DiscardHandler)
	bad := func(name string, edit func(*service.Port)) service.Changes {
		svc := newService(name, "10.96.0.66", 0)
		changes := decideOne(cfg, svc, sliceOf(svc, ready(a)))
		for _, d := range changes.Of {
			edit(&d.Ports[0])
			d.Ports = d.Ports[:1]
		}
		return changes
	}
	protocol := bad("protocol", func(p *service.Port) { p.Protocol = "nosuch" })
	family := bad("family", func(p *service.Port) {
		p.Internal.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("[fd00::1]:80")}
	})
	refused := func(want ...string) {
		t.Helper()
		got := w.Refused()
		for _, name := range want {
			if got[types.NamespacedName{Namespace: "test", Name: name}] == nil {
				t.Errorf("%s is not refused", name)
			}
		}
		if len(got) != len(want) {
			t.Errorf("refused are %v, want %v", got, want)
		}
	}
	apply := func(changes service.Changes) {
		t.Helper()
		if err := w.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
	}
	// At the start, among many.
	services, slices := manyServices(60)
	web := newService("web", vip, 0)
	first := decideAll(cfg, append(services, web), append(slices, sliceOf(web, ready(a))))
	maps.Copy(first.Of, protocol.Of)
	maps.Copy(first.Of, family.Of)
	apply(first)
	refused("protocol", "family")
	eventually(t, "the other service answers", reaches(nil, vip+":80", a))
	// The others change, and one of the two is mended.
	apply(decideOne(cfg, web, sliceOf(web, ready(b))))
	refused("protocol", "family")
	eventually(t, "the other service's change is in force", reaches(nil, vip+":80", b))
	good := newService("family", "10.96.0.66", 0)
	apply(decideOne(cfg, good, sliceOf(good, ready(a))))
	refused("protocol")
	eventually(t, "what was mended answers", reaches(nil, "10.96.0.66:80", a))
	// Tried again, and refused again, alone.
	w.Again()
	refused()
	apply(decideOne(cfg, web, sliceOf(web, ready(a))))
	refused("protocol")
	eventually(t, "the other service answers again", reaches(nil, vip+":80", a))
	rest := decideOne(cfg, web, sliceOf(web, ready(a)))
	rest.All = true
	apply(rest)
	refused()
}

// A Service that the kernel refuses is told of once.
func TestRefusalIsTold(t *testing.T) { eachMode(t, testRefusalIsTold) }

func testRefusalIsTold(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a)
	m := newMemory()
	odd := newService("odd", "10.96.0.66", 0, func(s *corev1.Service) {
		s.UID = "odd-uid"
		s.Spec.Ports[0].Protocol = "NOSUCH"
		s.Spec.Ports = s.Spec.Ports[:1]
	})
	m.set(odd, ready(a))
	m.set(newService("web", vip, 0), ready(a))
	told := make(chan string, 10)
	p, err := proxy.New(proxy.Config{
		Source: m, Services: config, Mode: mode, Log: slog.New(slog.DiscardHandler),
		Warn: func(about types.NamespacedName, uid types.UID, reason, message string) {
			told <- fmt.Sprint(about, " ", uid, " ", reason, " ", strings.Contains(message, "here"))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := proxy.Cleanup(context.Background()); err != nil {
			t.Errorf("Cleanup: %v", err)
		}
	})
	if got, want := <-told, "test/odd odd-uid ServiceNotServed true"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	eventually(t, "the other service answers", reaches(nil, vip+":80", a))
	m.set(newService("web", vip, 0), ready(a), ready(b)) // written, and refused, once more
	select {
	case again := <-told:
		t.Errorf("told again: %s", again)
	case <-time.After(3 * time.Second):
	}
}

// poisoned gives the Service web slices that Decide panics about.
type poisoned struct {
	*memory
	poison atomic.Bool
}

func (p *poisoned) Take(all bool) (proxy.Changes, bool) {
	changes, complete := p.memory.Take(all)
	for name, served := range changes.Services {
		if p.poison.Load() && name.Name == "web" {
			served.Slices = []*discoveryv1.EndpointSlice{nil}
			changes.Services[name] = served
		}
	}
	return changes, complete
}

// A Service that cannot be decided about keeps its rules, also when all are looked at.
func TestPoisonedServiceStays(t *testing.T) {
	var told atomic.Int32
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { told.Add(1) }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })
	servers(t, a, b)
	m := &poisoned{memory: newMemory()}
	m.set(newService("web", vip, 0), ready(a))
	m.set(newService("other", "10.96.0.77", 0), ready(a))
	p, err := proxy.New(proxy.Config{Source: m, Services: config, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := proxy.Cleanup(context.Background()); err != nil {
			t.Errorf("Cleanup: %v", err)
		}
	})
	eventually(t, "the service answers", reaches(nil, vip+":80", a))
	m.poison.Store(true)
	m.set(newService("other", "10.96.0.77", 0), ready(b))
	m.SetZone("another") // all are looked at
	eventually(t, "it was looked at", func() bool { return told.Load() > 0 })
	eventually(t, "the other one's change is in force", reaches(nil, "10.96.0.77:80", b))
	if !reaches(nil, vip+":80", a)() {
		t.Error("the service has lost its rules")
	}
}
