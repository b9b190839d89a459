package probe_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func port(t *testing.T, addr net.Addr) int32 {
	t.Helper()
	_, text, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

// TestCheck makes every kind of attempt against real listeners.
func TestCheck(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
		case "/elsewhere":
			http.Redirect(w, r, "http://other.invalid/", http.StatusFound)
		case "/host":
			if r.Host != "shop.example" || r.Header.Get("X-A") != "b" || !strings.HasPrefix(r.UserAgent(), "kube-probe/") {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer web.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer secure.Close()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rpc, states := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(rpc, states)
	states.SetServingStatus("sick", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	var wg sync.WaitGroup
	wg.Go(func() { _ = rpc.Serve(listener) })
	defer wg.Wait()
	defer rpc.Stop()
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()

	httpPort, rpcPort := port(t, web.Listener.Addr()), port(t, listener.Addr())
	get := func(path string, change ...func(*corev1.HTTPGetAction)) corev1.ProbeHandler {
		g := &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(httpPort)}
		for _, c := range change {
			c(g)
		}
		return corev1.ProbeHandler{HTTPGet: g}
	}
	sick := "sick"
	for _, c := range []struct {
		name    string
		handler corev1.ProbeHandler
		ok      bool
		message string // a part of it
	}{
		{"http", get("/"), true, ""},
		{"http with a status", get("/bad"), false, "HTTP probe failed with statuscode: 500"},
		{"http too slow", get("/slow"), false, "context deadline exceeded"},
		{"http to another host", get("/elsewhere"), true, ""},
		{"http headers", get("/host", func(g *corev1.HTTPGetAction) {
			g.HTTPHeaders = []corev1.HTTPHeader{{Name: "host", Value: "shop.example"}, {Name: "X-A", Value: "b"}}
		}), true, ""},
		{"a named port", get("/", func(g *corev1.HTTPGetAction) { g.Port = intstr.FromString("web") }), true, ""},
		{"no such port", get("/", func(g *corev1.HTTPGetAction) { g.Port = intstr.FromString("none") }), false, "couldn't find named port"},
		{"https with any certificate", get("/", func(g *corev1.HTTPGetAction) {
			g.Scheme, g.Port = "HTTPS", intstr.FromInt32(port(t, secure.Listener.Addr()))
		}), true, ""},
		{"tcp", corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(httpPort)}}, true, ""},
		{"tcp refused", corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port(t, closed.Addr()))}}, false, "connection refused"},
		{"grpc", corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: rpcPort}}, true, ""},
		{"grpc not serving", corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: rpcPort, Service: &sick}}, false, `service unhealthy (responded with "NOT_SERVING")`},
		{"grpc refused", corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: port(t, closed.Addr())}}, false, "timeout: failed to connect service"},
		{"exec", corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}, true, ""},
		{"exec failed", corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}}, false, "it is false"},
		{"exec too slow", corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "9"}}}, false, `command timed out: "sleep 9" timed out after 1s`},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := probe.Target{ID: "c1", Spec: corev1.Container{Name: "app", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: httpPort}}}}
			ok, message := probe.Check(t.Context(), commands{}, &corev1.Probe{ProbeHandler: c.handler, TimeoutSeconds: 1}, &corev1.Pod{}, "127.0.0.1", target)
			if ok != c.ok || !strings.Contains(message, c.message) {
				t.Errorf("got %t, %q, want %t, %q", ok, message, c.ok, c.message)
			}
		})
	}
}

// commands answers exec probes as the runtime would.
type commands struct{}

func (commands) ExecProbe(_ context.Context, _ string, command []string, _ time.Duration) (string, int, error) {
	switch command[0] {
	case "true":
		return "", 0, nil
	case "false":
		return "it is false", 1, nil
	}
	return "", -1, context.DeadlineExceeded
}

// script is an exec probe whose outcomes the test sets.
type script struct {
	healthy atomic.Bool
	calls   atomic.Int32
	mu      sync.Mutex
	events  []string
}

func (s *script) ExecProbe(context.Context, string, []string, time.Duration) (string, int, error) {
	s.calls.Add(1)
	if s.healthy.Load() {
		return "", 0, nil
	}
	return "", 0, errors.New("not now")
}

func (s *script) Unhealthy(_ *corev1.Pod, container, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, container+": "+message)
}

func execProbe(failures int32) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}, PeriodSeconds: 10, FailureThreshold: failures, InitialDelaySeconds: 5}
}

// TestSchedule follows the three probes of a container on a clock of its own.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		changes := make(chan types.UID, 100)
		m := probe.New(s, s, func(uid types.UID) { changes <- uid }, slog.New(slog.DiscardHandler))
		defer m.Stop()
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u1"}}
		spec := corev1.Container{Name: "app", StartupProbe: execProbe(5), ReadinessProbe: execProbe(2), LivenessProbe: execProbe(2)}
		target := []probe.Target{{ID: "c1", Spec: spec, StartedAt: time.Now()}}
		m.Sync(p, "", target, false)
		m.Sync(p, "", target, false) // changes nothing
		at := func(after time.Duration, want pod.ProbeResult, calls int32) {
			t.Helper()
			time.Sleep(after) //nolint:forbidigo // on the clock of the bubble
			synctest.Wait()
			if got := m.Results("u1")["c1"]; got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if got := s.calls.Load(); got != calls {
				t.Errorf("got %d attempts, want %d", got, calls)
			}
		}
		at(4*time.Second, pod.ProbeResult{}, 0)  // the initial delay
		at(2*time.Second, pod.ProbeResult{}, 1)  // 6 s: the startup probe failed once
		at(10*time.Second, pod.ProbeResult{}, 2) // 16 s
		s.healthy.Store(true)                    // 25 s: started, and at once ready
		at(10*time.Second, pod.ProbeResult{Started: true, Ready: true}, 5)
		s.healthy.Store(false)
		at(10*time.Second, pod.ProbeResult{Started: true, Ready: true}, 7) // one failure each is not enough
		at(10*time.Second, pod.ProbeResult{Started: true, Failed: "liveness"}, 9)
		at(10*time.Second, pod.ProbeResult{Started: true, Failed: "liveness"}, 10) // only readiness goes on
		s.healthy.Store(true)
		at(10*time.Second, pod.ProbeResult{Started: true, Ready: true, Failed: "liveness"}, 11)
		s.mu.Lock()
		if len(s.events) != 7 || s.events[0] != "app: Startup probe failed: not now" {
			t.Errorf("got events %q", s.events)
		}
		s.mu.Unlock()
		m.Sync(p, "", nil, false)
		at(time.Minute, pod.ProbeResult{}, 11)
		if len(changes) == 0 {
			t.Error("nobody was told")
		}
	})
}

// TestQuickStart: a container that listens a moment after its start is ready
// long before its period is over, and the failures before are not events.
func TestQuickStart(t *testing.T) {
	var up atomic.Bool
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	s := &script{}
	ready := make(chan struct{}, 10)
	m := probe.New(s, s, func(types.UID) { ready <- struct{}{} }, slog.New(slog.DiscardHandler))
	defer m.Stop()
	slow := &corev1.Probe{PeriodSeconds: 3600, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(port(t, web.Listener.Addr()))}}}
	m.Sync(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u1"}}, "127.0.0.1", []probe.Target{{ID: "c1", Spec: corev1.Container{Name: "app", ReadinessProbe: slow}, StartedAt: time.Now()}}, false)
	time.AfterFunc(200*time.Millisecond, func() { up.Store(true) })
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Fatal("not ready")
	}
	if got := m.Results("u1")["c1"]; !got.Ready {
		t.Errorf("got %+v", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) > 1 {
		t.Errorf("got events %q, want that of the first attempt at most", s.events)
	}
}

// bomb panics once, and succeeds from then on.
type bomb struct {
	script
	thrown atomic.Bool
}

func (b *bomb) ExecProbe(context.Context, string, []string, time.Duration) (string, int, error) {
	if !b.thrown.Swap(true) {
		panic("this probe is too much")
	}
	return "", 0, nil
}

// TestPanic: a probe that panics is made again.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bomb{}
		m := probe.New(b, b, func(types.UID) {}, slog.New(slog.DiscardHandler))
		defer m.Stop()
		spec := corev1.Container{Name: "app", ReadinessProbe: execProbe(1)}
		m.Sync(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u1"}}, "", []probe.Target{{ID: "c1", Spec: spec, StartedAt: time.Now()}}, false)
		time.Sleep(time.Minute) //nolint:forbidigo // on the clock of the bubble
		synctest.Wait()
		if got := m.Results("u1")["c1"]; !b.thrown.Load() || !got.Ready {
			t.Errorf("got %+v, want it ready after a panic", got)
		}
	})
}

// TestStopping: of a pod that terminates only the readiness probes go on.
func TestStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.healthy.Store(true)
		m := probe.New(s, s, func(types.UID) {}, slog.New(slog.DiscardHandler))
		defer m.Stop()
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u1"}}
		target := []probe.Target{{ID: "c1", Spec: corev1.Container{Name: "app", ReadinessProbe: execProbe(1), LivenessProbe: execProbe(1)}, StartedAt: time.Now()}}
		m.Sync(p, "", target, false)
		time.Sleep(6 * time.Second) //nolint:forbidigo // on the clock of the bubble
		synctest.Wait()
		if got := m.Results("u1")["c1"]; !got.Ready {
			t.Fatalf("got %+v, want it ready", got)
		}
		s.healthy.Store(false)
		m.Sync(p, "", target, true)
		time.Sleep(time.Minute) //nolint:forbidigo // on the clock of the bubble
		synctest.Wait()
		if got, want := m.Results("u1")["c1"], (pod.ProbeResult{Started: true}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
