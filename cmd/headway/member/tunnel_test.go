package member_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	enginetunnel "headway.dev/engine/api/tunnel"
	"headway.dev/manifests/nodeconfig"
	"headway.dev/nodes/tunnel"
)

// tunnels is an API with tunnels, and the node n1.
type tunnels struct {
	*apitest.Server
	*enginetunnel.Tunnels
	own netip.AddrPort
}

// echoing is a program that sends back what it gets.
func echoing(t *testing.T) net.Listener {
	t.Helper()
	return listening(t, func(conn net.Conn) {
		_, _ = io.Copy(conn, conn)
		_ = conn.(*net.TCPConn).CloseWrite()
	})
}

func listening(t *testing.T, serve func(net.Conn)) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l
}

func startTunnels(t *testing.T, own net.Listener) tunnels {
	t.Helper()
	s := tunnels{own: netip.MustParseAddrPort(own.Addr().String())}
	s.Server = apitest.Start(t, func(c *api.Config) {
		var err error
		if s.Tunnels, err = enginetunnel.New(c.Store, c.Log); err != nil {
			t.Fatal(err)
		}
		c.Tunnels = s.Tunnels
	})
	client := kubernetes.NewForConfigOrDie(s.Config).CoreV1().Nodes()
	if _, err := client.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s tunnels) as(t *testing.T, user string, groups ...string) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.KubeconfigFor(t, user, groups...))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// open keeps a tunnel of n1 open until stop is called.
func (s tunnels) open(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	cfg := tunnel.Config{
		NodeName: "n1", API: s.as(t, "system:node:n1", "system:nodes"), Own: s.own, Log: slog.New(slog.DiscardHandler),
		Ranges: func() []netip.Prefix { return nil }, Pods: func() []corev1.Pod { return nil },
	}
	go func() {
		defer close(done)
		_ = tunnel.Run(ctx, cfg)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// dial connects through the tunnel.
func (s tunnels) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := s.DialNode(t.Context(), "n1", s.own.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, direct := conn.(*net.TCPConn); direct {
		t.Fatal("there was a tunnel, and the node was dialled")
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func says(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("sent %q, got %q, %v", text, got, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// What is sent through a tunnel arrives whole, in both directions, and so does its end.
func TestTunnelCarriesConnections(t *testing.T) {
	s := startTunnels(t, echoing(t))
	stop := s.open(t)
	until(t, "a tunnel", func() bool { return s.Len() == 1 })
	conn := s.dial(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	go func() {
		_, _ = conn.Write(sent)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(sent) {
		t.Fatalf("%d of %d bytes came back, %v", len(got), len(sent), err)
	}

	// A deadline ends a connection, and no other.
	other := s.dial(t)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	late := s.dial(t)
	if err := late.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Read(make([]byte, 1)); err == nil || !err.(net.Error).Timeout() { //nolint:errorlint // it has to be one itself
		t.Errorf("a read after its deadline: %v", err)
	}
	says(t, other, "still here")

	// Without a tunnel the node is dialled, and the connections of the tunnel end.
	stop()
	until(t, "no tunnel", func() bool { return s.Len() == 0 })
	if _, err := other.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives its tunnel")
	}
	direct, err := s.DialNode(t.Context(), "n1", s.own.String())
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	says(t, direct, "by itself")
}

// Connections that nobody reads, on either side, stop no others.
func TestTunnelOfStuckConnections(t *testing.T) {
	flooding := make(chan struct{})
	l := listening(t, func(conn net.Conn) {
		first := make([]byte, 1)
		if _, err := io.ReadFull(conn, first); err != nil {
			return
		}
		switch first[0] {
		case 'f': // floods
			for _, err := conn.Write(make([]byte, 64<<10)); err == nil; {
				_, err = conn.Write(make([]byte, 64<<10))
			}
		case 's': // swallows nothing
			<-flooding
		default:
			_, _ = conn.Write(first)
			_, _ = io.Copy(conn, conn)
		}
	})
	defer close(flooding)
	s := startTunnels(t, l)
	s.open(t)
	until(t, "a tunnel", func() bool { return s.Len() == 1 })
	for range 20 {
		if _, err := s.dial(t).Write([]byte("f")); err != nil {
			t.Fatal(err)
		}
		stuck := s.dial(t)
		if err := stuck.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		written := make(chan struct{})
		go func() {
			defer close(written)
			_, _ = stuck.Write(append([]byte("s"), make([]byte, 8<<20)...)) // it fails in the end
		}()
		t.Cleanup(func() {
			stuck.Close()
			<-written
		})
	}
	for range 10 {
		says(t, s.dial(t), "through all that")
	}
}

// The newer of two tunnels is used, and what is on the older goes on.
func TestTunnelIsReplaced(t *testing.T) {
	s := startTunnels(t, echoing(t))
	stop := s.open(t)
	until(t, "a tunnel", func() bool { return s.Len() == 1 })
	before := s.dial(t)
	says(t, before, "on the first")
	s.open(t)
	for range 20 {
		says(t, s.dial(t), "on either")
		says(t, before, "still on the first")
		<-time.After(20 * time.Millisecond)
	}
	stop()
	until(t, "the other's", func() bool { return s.Len() == 1 })
	says(t, s.dial(t), "on the second")
}

// Only a node opens its tunnel.
func TestTunnelIsTheNodesOwn(t *testing.T) {
	s := startTunnels(t, echoing(t))
	for user, want := range map[string]int{
		"system:node:n1": http.StatusUpgradeRequired, "system:node:n2": http.StatusForbidden, "kubernetes-admin": http.StatusForbidden, "ada": http.StatusForbidden,
	} {
		groups := map[string][]string{"system:node:n1": {"system:nodes"}, "system:node:n2": {"system:nodes"}, "kubernetes-admin": {"system:masters"}}[user]
		for path, want := range map[string]int{
			nodeconfig.TunnelPath("n1"): want, nodeconfig.TunnelPath("n2"): map[string]int{"system:node:n2": http.StatusNotFound}[user],
		} {
			if want == 0 {
				want = http.StatusForbidden
			}
			client, err := rest.HTTPClientFor(s.as(t, user, groups...))
			if err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%s asks for %s: %d %s, want %d", user, path, response.StatusCode, text, want)
			}
		}
	}
	if s.Len() != 0 {
		t.Error("there is a tunnel")
	}
}
