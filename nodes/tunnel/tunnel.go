package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"k8s.io/client-go/rest"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/manifests/nodeconfig"
	"headway.dev/nodes/wait"
)

const (
	// silence is for how long the server may send nothing before it is asked whether it
	// is there, and patience for how long it may take to answer, and to take a byte.
	silence, patience = 15 * time.Second, 15 * time.Second
	// steady is how long a tunnel has to live to count as one that works.
	steady = time.Minute
	// most are the connections at a time. Each may have window bytes in this machine's
	// memory that the program has not read yet: no more than its part of what the tunnel
	// may have, so that one which reads nothing does not stop the others.
	most, window = 500, 256 << 10
	// mostReason bounds what the server says of why there is no tunnel.
	mostReason = 4 << 10
)

// again is how long to wait after a tunnel that broke, or could not be opened.
var again = loop.Backoff{First: 500 * time.Millisecond, Last: 10 * time.Second, Spread: 0.3}

// Run keeps a tunnel open until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	for failures := 0; ; failures++ {
		began := time.Now()
		err := cfg.once(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it is why
		}
		if time.Since(began) > steady {
			failures = 0
		}
		cfg.Log.Warn("There is no tunnel to the server", "err", err)
		if !wait.Sleep(ctx, again.After(failures)) {
			return nil
		}
	}
}

// once opens a tunnel, and serves it until it breaks.
func (cfg Config) once(ctx context.Context) error {
	conn, err := cfg.open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() {
		guard.Do(ctx, "end the tunnel", func() { _ = conn.Close() })
	})()
	cfg.Log.Info("A tunnel to the server is open", "server", cfg.API.Host)
	server := &http2.Server{
		MaxConcurrentStreams: most, MaxUploadBufferPerStream: window, MaxUploadBufferPerConnection: most * window,
	}
	handler := &handler{cfg: cfg}
	server.ServeConn(conn, &http2.ServeConnOpts{
		Context: ctx, Handler: handler,
		BaseConfig: &http.Server{
			ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
			HTTP2:    &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: patience, WriteByteTimeout: patience},
		},
	})
	handler.wait()
	return errors.New("the server has closed it, or does not answer")
}

// open asks the server for the tunnel, with the certificate that the node has now.
func (cfg Config) open(ctx context.Context) (net.Conn, error) {
	config, err := rest.TLSConfigFor(cfg.API)
	if err != nil {
		return nil, fmt.Errorf("the node's certificate: %w", err)
	}
	transport := &http.Transport{
		TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
	}
	defer transport.CloseIdleConnections()
	var conn net.Conn
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { conn = info.Conn }})
	request, err := http.NewRequestWithContext(traced, http.MethodGet, strings.TrimSuffix(cfg.API.Host, "/")+nodeconfig.TunnelPath(cfg.NodeName), http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", nodeconfig.TunnelProtocol)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	stream, ok := response.Body.(io.ReadWriteCloser)
	if response.StatusCode != http.StatusSwitchingProtocols || !ok || !strings.EqualFold(response.Header.Get("Upgrade"), nodeconfig.TunnelProtocol) {
		text, _ := io.ReadAll(io.LimitReader(response.Body, mostReason))
		return nil, errors.Join(fmt.Errorf("the server answers %s: %s", response.Status, strings.TrimSpace(string(text))), response.Body.Close())
	}
	return upgraded{conn, stream}, nil
}

// upgraded is the connection below an upgraded request: what the transport has read of it
// already comes first.
type upgraded struct {
	net.Conn
	stream io.ReadWriteCloser
}

// Read implements net.Conn.
func (u upgraded) Read(p []byte) (int, error) { return u.stream.Read(p) }

// Write implements net.Conn.
func (u upgraded) Write(p []byte) (int, error) { return u.stream.Write(p) }

// Close implements net.Conn.
func (u upgraded) Close() error { return u.stream.Close() }
