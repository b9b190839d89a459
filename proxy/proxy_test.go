package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy"
	"headway.dev/proxy/iptables"
	"headway.dev/proxy/service"
)

var config = service.Config{
	NodeName:     "here",
	NodeIPs:      []netip.Addr{netip.MustParseAddr(nodeIP), netip.MustParseAddr(nodeIP6)},
	ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")},
	ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/64")},
}

var modes = []proxy.Mode{proxy.ModeIptables, proxy.ModeNftables}

// eachMode runs a test with the rules of each mode.
func eachMode(t *testing.T, test func(*testing.T, proxy.Mode)) {
	t.Helper()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) { test(t, mode) })
	}
}

// memory is a Source that the test changes.
type memory struct{ *proxy.State }

func newMemory() *memory { return &memory{proxy.NewState()} }

func (m *memory) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (m *memory) set(svc *corev1.Service, endpoints ...discoveryv1.Endpoint) {
	m.SetSlice(sliceOf(svc, endpoints...))
	m.SetService(svc)
}

func sliceOf(svc *corev1.Service, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints}
	slice.Namespace, slice.Name = svc.Namespace, svc.Name
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: svc.Name}
	for _, p := range svc.Spec.Ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: new(p.TargetPort.IntVal), Protocol: new(p.Protocol)})
	}
	return slice
}

func (m *memory) remove(name string) {
	m.DeleteService(types.NamespacedName{Namespace: "test", Name: name})
	m.DeleteSlice(types.NamespacedName{Namespace: "test", Name: name})
}

func newService(name, ip string, nodePort int32, edit ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: ip}}
	svc.Namespace, svc.Name = "test", name
	for _, proto := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		p := corev1.ServicePort{Name: strings.ToLower(string(proto)), Protocol: proto, Port: 80, NodePort: nodePort}
		p.TargetPort.IntVal = 8080
		svc.Spec.Ports = append(svc.Spec.Ports, p)
	}
	for _, e := range edit {
		e(svc)
	}
	return svc
}

func ready(ip string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: new("here"), Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}
}

func terminating(ip string) discoveryv1.Endpoint {
	e := ready(ip)
	e.Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
	return e
}

// start runs a proxy until the test ends, and removes its rules then.
func start(tb testing.TB, mode proxy.Mode, m *memory) (stop func()) {
	tb.Helper()
	p, err := proxy.New(proxy.Config{Source: m, Services: config, Mode: mode, VerifyPeriod: 200 * time.Millisecond, Log: failing(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				tb.Errorf("Run: %v", err)
			}
		})
	}
	tb.Cleanup(func() {
		stop()
		if err := proxy.Cleanup(context.Background()); err != nil {
			tb.Errorf("Cleanup: %v", err)
		}
	})
	return stop
}

// failing is a log for proxies that have to find nothing wrong: what fails is
// tried again, and would only take longer.
func failing(tb testing.TB) *slog.Logger {
	tb.Helper()
	return slog.New(slog.NewTextHandler(logger{tb}, &slog.HandlerOptions{Level: slog.LevelError}))
}

type logger struct{ tb testing.TB }

func (l logger) Write(line []byte) (int, error) {
	l.tb.Errorf("logged: %s", line)
	return len(line), nil
}

// saved are the rules of iptables, and of the table that the mode nftables has.
func saved(tb testing.TB) string {
	tb.Helper()
	var all strings.Builder
	for _, command := range [][]string{{"iptables-save"}, {"ip6tables-save"}, {"nft", "list", "ruleset", "inet"}} {
		out, err := exec.CommandContext(tb.Context(), command[0], command[1:]...).Output()
		if err != nil {
			tb.Fatalf("%v: %v", command, err)
		}
		all.Write(out)
	}
	return all.String()
}

// leads reports whether rules lead to an endpoint.
func leads(tb testing.TB, ip string) bool {
	tb.Helper()
	rules := saved(tb)
	return strings.Contains(rules, "--to-destination "+ip+":") || strings.Contains(rules, ": "+ip+" . ")
}

// servers makes pods that answer with their address on port 8080.
func servers(tb testing.TB, ips ...string) (pods []*host) {
	tb.Helper()
	for _, ip := range ips {
		p := newPod(tb, ip)
		p.serve(tb, ip, 8080)
		pods = append(pods, p)
	}
	return pods
}

const a, b, c, vip = "10.244.0.11", "10.244.0.12", "10.244.0.13", "10.96.0.10"

// answers counts who answers n connections to the service at vip; every one must succeed.
func answers(t *testing.T, from *host, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		server, _, err := from.ask(vip + ":80")
		if err != nil {
			t.Fatalf("connect to the service: %v", err)
		}
		got[server]++
	}
	return got
}

func reaches(from *host, addr, server string) func() bool {
	return func() bool {
		got, _, err := from.try(addr)
		return err == nil && got == server
	}
}

func TestClusterIP(t *testing.T) { eachMode(t, testClusterIP) }

func testClusterIP(t *testing.T, mode proxy.Mode) {
	t.Helper()
	pods := servers(t, a, b, c)
	client := newPod(t, "10.244.0.20")
	m := newMemory()
	m.set(newService("web", vip, 0), ready(a), ready(b), ready(c))
	start(t, mode, m)
	eventually(t, "the service answers", func() bool { _, _, err := client.try(vip + ":80"); return err == nil })

	// 90 connections to three: less than 10 for one has odds below 1 in 10^5.
	got := answers(t, client, 90)
	for _, ip := range []string{a, b, c} {
		if got[ip] < 10 {
			t.Errorf("of 90 connections %s got %d: %v", ip, got[ip], got)
		}
	}
	if _, seen, err := client.ask(vip + ":80"); err != nil || seen != client.ip {
		t.Errorf("a pod's connection comes from %q, %v; want its own address", seen, err)
	}
	answers(t, nil, 5) // from the node itself
	// A pod reaches itself, too, through its own service.
	m.set(newService("self", "10.96.0.11", 0), ready(a))
	eventually(t, "the pod reaches itself", reaches(pods[0], "10.96.0.11:80", a))
}

func TestEndpointLeaves(t *testing.T) { eachMode(t, testEndpointLeaves) }

func testEndpointLeaves(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a, b, c)
	client := newPod(t, "10.244.0.20")
	m := newMemory()
	svc := newService("web", vip, 0)
	m.set(svc, ready(a))
	start(t, mode, m)
	eventually(t, "the service answers", reaches(client, vip+":80", a))
	open, err := client.dial("tcp4", vip+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()

	// Requests all the time, while the endpoints are replaced one by one.
	var sent, failed atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			sent.Add(1)
			if _, _, err := client.ask(vip + ":80"); err != nil {
				failed.Add(1)
				t.Errorf("request lost: %v", err)
			}
		}
	}()
	pair := [][]discoveryv1.Endpoint{{ready(a), ready(b)}, {terminating(a), ready(b)}, {ready(b), ready(c)}, {terminating(b), ready(c)}}
	for range 5 {
		for _, endpoints := range pair {
			before := sent.Load()
			m.set(svc, endpoints...)
			eventually(t, "some requests went through", func() bool { return sent.Load() > before+5 })
		}
	}
	close(stop)
	<-done
	t.Logf("%d requests, %d lost", sent.Load(), failed.Load())

	eventually(t, "only the ready endpoint answers", func() bool { got := answers(t, client, 20); return got[c] == 20 })
	if leads(t, a) || leads(t, b) {
		t.Errorf("endpoints that left are still in the rules:\n%s", saved(t))
	}
	if server, _, err := askOn(open); err != nil || server != a {
		t.Errorf("the connection opened before is answered by %q, %v; want %s", server, err, a)
	}
	// The last one serves while it terminates.
	m.set(svc, terminating(b))
	eventually(t, "the terminating endpoint answers", reaches(client, vip+":80", b))
}

func TestNoEndpoints(t *testing.T) { eachMode(t, testNoEndpoints) }

func testNoEndpoints(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a)
	client, outside := newPod(t, "10.244.0.20"), newOutside(t)
	m := newMemory()
	m.set(newService("web", vip, 30080), ready(a))
	start(t, mode, m)
	eventually(t, "the service answers", reaches(client, vip+":80", a))
	m.set(newService("web", vip, 30080))
	for name, from := range map[string]struct {
		*host
		addr string
	}{
		"pod": {client, vip + ":80"}, "node": {nil, vip + ":80"}, "outside": {outside, nodeIP + ":30080"}, "node, node port": {nil, "127.0.0.1:30080"},
	} {
		eventually(t, name+" is refused", func() bool {
			_, _, err := from.ask(from.addr)
			return errors.Is(err, syscall.ECONNREFUSED)
		})
	}
	m.remove("web")
	eventually(t, "the rules are gone", func() bool { return !strings.Contains(saved(t), vip) })
}

func TestNodePort(t *testing.T) { eachMode(t, testNodePort) }

func testNodePort(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a)
	outside := newOutside(t)
	local := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	m := newMemory()
	m.set(newService("web", vip, 30080), ready(a))
	m.set(newService("local", "10.96.0.11", 30081, local), ready(a))
	start(t, mode, m)
	for _, test := range []struct {
		from     *host
		addr     string
		wantSeen string
	}{
		{outside, nodeIP + ":30080", bridgeIP}, // masqueraded
		{outside, nodeIP + ":30081", "192.0.2.2"},
		{nil, nodeIP + ":30080", bridgeIP},
		{nil, "127.0.0.1:30080", bridgeIP},
		{nil, "127.0.0.1:30081", bridgeIP},
	} {
		eventually(t, test.addr+" answers", reaches(test.from, test.addr, a))
		if _, seen, err := test.from.ask(test.addr); err != nil || seen != test.wantSeen {
			t.Errorf("through %s the client is %q, %v; want %s", test.addr, seen, err, test.wantSeen)
		}
	}
}

func TestAffinity(t *testing.T) { eachMode(t, testAffinity) }

func testAffinity(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a, b, c)
	sticky := func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }
	m := newMemory()
	m.set(newService("web", vip, 0, sticky), ready(a), ready(b), ready(c))
	start(t, mode, m)
	served := map[string]bool{}
	for i := range 6 {
		client := newPod(t, fmt.Sprintf("10.244.0.%d", 20+i))
		eventually(t, "the service answers", func() bool { _, _, err := client.try(vip + ":80"); return err == nil })
		got := answers(t, client, 10)
		if len(got) != 1 {
			t.Errorf("client %s was served by %v, want one", client.ip, got)
		}
		for ip := range got {
			served[ip] = true
		}
	}
	if len(served) < 2 { // all six on one: 1 in 243
		t.Logf("all clients stick to one endpoint: %v", served)
	}
}

// A client that was away for longer than the affinity lasts gets any endpoint.
func TestAffinityEnds(t *testing.T) { eachMode(t, testAffinityEnds) }

func testAffinityEnds(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a, b, c)
	client := newPod(t, "10.244.0.20")
	m := newMemory()
	m.set(newService("web", vip, 0, func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(1))}}
	}), ready(a), ready(b), ready(c))
	start(t, mode, m)
	eventually(t, "the service answers", func() bool { _, _, err := client.try(vip + ":80"); return err == nil })
	served := map[string]bool{}
	for range 20 { // all on one: 1 in 3^19
		by, _, err := client.ask(vip + ":80")
		if err != nil {
			t.Fatal(err)
		}
		if served[by] = true; len(served) > 1 {
			return
		}
		<-time.After(2100 * time.Millisecond) // both count in whole seconds
	}
	t.Errorf("the client stays at %v", served)
}

// A UDP flow is led elsewhere when its endpoint goes, although its client
// keeps sending from the same port.
func TestUDP(t *testing.T) { eachMode(t, testUDP) }

func testUDP(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a, b)
	client := newPod(t, "10.244.0.20")
	m := newMemory()
	m.set(newService("web", vip, 0), ready(a))
	start(t, mode, m)
	eventually(t, "the rules are there", func() bool { return leads(t, a) })
	conn, err := client.dial("udp4", vip+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answeredOn := func(conn net.Conn, by string) func() bool {
		return func() bool {
			buf := make([]byte, 100)
			if err := conn.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("x")); err != nil {
				return false
			}
			n, err := conn.Read(buf)
			return err == nil && string(buf[:n]) == by
		}
	}
	answered := func(by string) func() bool { return answeredOn(conn, by) }
	eventually(t, "the first endpoint answers", answered(a))
	// One that terminates keeps what it has, and gets nothing new.
	m.set(newService("web", vip, 0), terminating(a), ready(b))
	eventually(t, "a new flow is led to the second endpoint", func() bool {
		other, err := client.dial("udp4", vip+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		return answeredOn(other, b)()
	})
	if !answered(a)() {
		t.Error("the flow was taken from an endpoint that still serves")
	}
	m.set(newService("web", vip, 0), ready(b))
	eventually(t, "the second endpoint answers", answered(b))
}

// What went away while no proxy ran is removed by the next one, which breaks
// no service that stays.
func TestRestart(t *testing.T) { eachMode(t, testRestart) }

func testRestart(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a)
	m := newMemory()
	m.set(newService("stays", vip, 0), ready(a))
	m.set(newService("goes", "10.96.0.11", 0), ready(a))
	stop := start(t, mode, m)
	eventually(t, "both answer", func() bool { return reaches(nil, vip+":80", a)() && reaches(nil, "10.96.0.11:80", a)() })
	stop()
	answers(t, nil, 3) // without a proxy
	m.remove("goes")
	start(t, mode, m)
	eventually(t, "the other's rules are gone", func() bool {
		answers(t, nil, 1)
		return !strings.Contains(saved(t), "10.96.0.11")
	})
	for _, chain := range []string{"OUTPUT", "PREROUTING"} {
		if n := strings.Count(saved(t), "-A "+chain+" -d 10.96.0.0/16"); mode == proxy.ModeIptables && n != 1 {
			t.Errorf("%d jumps from %s, want 1:\n%s", n, chain, saved(t))
		}
	}
	if n := strings.Count(saved(t), "jump services"); mode == proxy.ModeNftables && n != 2 {
		t.Errorf("%d jumps to services, want 2:\n%s", n, saved(t))
	}
}

func TestFlushedByOthers(t *testing.T) { eachMode(t, testFlushedByOthers) }

func testFlushedByOthers(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a)
	m := newMemory()
	m.set(newService("web", vip, 0), ready(a))
	start(t, mode, m)
	eventually(t, "the service answers", reaches(nil, vip+":80", a))
	flushes := map[proxy.Mode][]string{
		proxy.ModeIptables: {"iptables -t nat -F", "iptables -t nat -F OUTPUT"},
		proxy.ModeNftables: {"nft flush ruleset", "nft flush chain inet headway-proxy output"},
	}
	for _, flush := range flushes[mode] {
		words := strings.Fields(flush)
		if out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", flush, err, out)
		}
		eventually(t, "the service answers again", reaches(nil, vip+":80", a))
	}
}

func TestCleanup(t *testing.T) { eachMode(t, testCleanup) }

func testCleanup(t *testing.T, mode proxy.Mode) {
	t.Helper()
	other := []string{"-A", "FORWARD", "-s", "198.51.100.0/24", "-j", "ACCEPT"}
	if out, err := exec.CommandContext(t.Context(), "iptables", other...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := newMemory()
	m.set(newService("web", vip, 30080), ready(a))
	m.set(newService("none", "10.96.0.11", 30081))
	stop := start(t, mode, m)
	eventually(t, "the rules are there", func() bool { return strings.Contains(saved(t), vip) && strings.Contains(saved(t), "10.96.0.11") })
	stop()
	for range 2 { // also when there is nothing to remove
		if err := proxy.Cleanup(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if got := saved(t); strings.Contains(got, iptables.Prefix) || strings.Contains(got, "headway") || !strings.Contains(got, "198.51.100.0/24") {
		t.Errorf("after Cleanup:\n%s", got)
	}
	if out, err := exec.CommandContext(t.Context(), "ip", "route").Output(); err != nil || strings.Contains(string(out), "10.96.") {
		t.Errorf("routes after Cleanup: %s, %v", out, err)
	}
}
