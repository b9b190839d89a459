package nodes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headway.dev/nodes/server"
	"headway.dev/nodes/tunnel"
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

// keepTunnel lets the server reach this node and its pods without dialling them, until
// ctx ends.
func (a *Agent) keepTunnel(ctx context.Context) error {
	own, err := netip.ParseAddrPort(a.cfg.StreamingListener.Addr().String())
	if err != nil {
		return fmt.Errorf("address of logs and exec: %w", err)
	}
	return tunnel.Run(ctx, tunnel.Config{
		NodeName: a.cfg.NodeName, API: a.cfg.API, Own: own, Pods: a.workers.List, Log: a.log,
		Ranges: func() []netip.Prefix {
			if ranges := a.podRanges.Load(); ranges != nil {
				return *ranges
			}
			return nil
		},
	})
}

// rangesOfPods hands the ranges of the node's pods on, and keeps them.
func (a *Agent) rangesOfPods(cidrs []string) error {
	var ranges []netip.Prefix
	for _, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return err
		}
		ranges = append(ranges, prefix)
	}
	if err := a.cfg.SetPodCIDRs(cidrs); err != nil {
		return err
	}
	a.podRanges.Store(&ranges)
	return nil
}
