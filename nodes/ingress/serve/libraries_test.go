package serve_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// The client and the server of gRPC's own library speak through the proxy: calls, faults
// in trailers, streams that say something later, many calls of one connection, and the
// end of a call that its client gives up.
func TestGRPCLibrary(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	state := health.NewServer()
	cancelled := make(chan struct{}, 10)
	server := grpc.NewServer(grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		err := handler(srv, stream)
		if stream.Context().Err() != nil {
			cancelled <- struct{}{}
		}
		return err
	}))
	healthv1.RegisterHealthServer(server, state)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	p := start(t, nil)
	p.service("kubernetes.io/h2c", l.Addr().String())
	p.ingress(nil)
	for what, c := range map[string]struct {
		address string
		by      credentials.TransportCredentials
	}{
		"plain": {p.plain, insecure.NewCredentials()},
		"TLS":   {p.tls, credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})}, //nolint:gosec // of the proxy's own making
	} {
		t.Run(what, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+c.address, grpc.WithTransportCredentials(c.by))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			calls := healthv1.NewHealthClient(conn)
			state.SetServingStatus("shop", healthv1.HealthCheckResponse_SERVING)
			for range 100 {
				if r, err := calls.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "shop"}); err != nil || r.GetStatus() != healthv1.HealthCheckResponse_SERVING {
					t.Fatalf("a call is answered with %v, %v", r, err)
				}
			}
			if _, err := calls.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "unknown service") {
				t.Errorf("a fault comes as %v", err)
			}
			watched, stop := context.WithCancel(t.Context())
			defer stop()
			stream, err := calls.Watch(watched, &healthv1.HealthCheckRequest{Service: "shop"})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []healthv1.HealthCheckResponse_ServingStatus{healthv1.HealthCheckResponse_SERVING, healthv1.HealthCheckResponse_NOT_SERVING, healthv1.HealthCheckResponse_SERVING} {
				state.SetServingStatus("shop", want)
				if r, err := stream.Recv(); err != nil || r.GetStatus() != want {
					t.Fatalf("the stream says %v, %v, want %v", r, err, want)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			left, err := calls.Watch(ctx, &healthv1.HealthCheckRequest{Service: "shop"})
			if err == nil {
				_, err = left.Recv()
			}
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-cancelled:
			case <-time.After(time.Minute):
				t.Error("the server is not told that the client has gone")
			}
		})
	}
}

// The WebSocket library's client and server speak through the proxy: text and binary
// messages of all sizes, pings, and the code with which a side closes.
func TestWebSocketLibrary(t *testing.T) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"chat"}}
	address := backend(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // the library has answered
		}
		defer func() { _ = conn.Close() }()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if string(message) == "bye" {
				_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, "gone"), time.Now().Add(time.Minute))
				return
			}
			if err := conn.WriteMessage(kind, message); err != nil {
				return
			}
		}
	})
	p := start(t, nil)
	p.service("", address)
	p.ingress(nil)
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Subprotocols: []string{"chat"}} //nolint:gosec // of the proxy's own making
	for _, url := range []string{"ws://" + p.plain, "wss://" + p.tls} {
		conn, resp, err := dialer.DialContext(t.Context(), url+"/chat", nil)
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		_ = resp.Body.Close()
		if conn.Subprotocol() != "chat" {
			t.Errorf("%s: the subprotocol is %q", url, conn.Subprotocol())
		}
		pong := make(chan string, 1)
		conn.SetPongHandler(func(data string) error { pong <- data; return nil })
		if err := conn.WriteControl(websocket.PingMessage, []byte("here?"), time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		for kind, message := range map[int]string{websocket.TextMessage: "hello", websocket.BinaryMessage: strings.Repeat("\x00\xff", 1<<19)} {
			if err := conn.WriteMessage(kind, []byte(message)); err != nil {
				t.Fatal(err)
			}
			if gotKind, got, err := conn.ReadMessage(); gotKind != kind || string(got) != message || err != nil {
				t.Errorf("%s: %d bytes of kind %d come back as %d of %d, %v", url, len(message), kind, len(got), gotKind, err)
			}
		}
		if got := <-pong; got != "here?" {
			t.Errorf("%s: the pong is %q", url, got)
		}
		if err := conn.WriteMessage(websocket.TextMessage, []byte("bye")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Errorf("%s: the end comes as %v", url, err)
		}
		_ = conn.Close()
	}
}
