package nodes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headway.dev/nodes/server"
)

// serveStreams serves logs, exec, attach and port-forward until ctx ends. What
// is open then is cut: a stream has no end of its own.
func (a *Agent) serveStreams(ctx context.Context) error {
	var metrics prometheus.Gatherers
	if a.names != nil {
		metrics = append(metrics, a.names.Metrics())
	}
	if a.cfg.IngressMetrics != nil {
		metrics = append(metrics, a.cfg.IngressMetrics)
	}
	s := &http.Server{
		Handler:           server.New(a.cfg.NodeName, a.workers, a.cfg.Runtime, a.cfg.Client.AuthorizationV1().SubjectAccessReviews(), metrics, a.log),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	// HTTP/1 only: SPDY and websockets upgrade the connection.
	config := a.cfg.StreamingTLS.Clone()
	config.NextProtos = []string{"http/1.1"}
	err := s.Serve(tls.NewListener(a.cfg.StreamingListener, config))
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve logs and exec: %w", err)
}
