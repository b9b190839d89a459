package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/nodes/ingress/serve"
)

// listener is one of the addresses that are served.
type listener struct {
	address string
	secure  bool
	port    int32     // as Gateways know it
	fixed   bool      // Ingresses are served, too
	wake    loop.Flag // whether there is something to serve has changed
}

// lookPeriod is how often it is looked whether there is something to serve, whatever
// happens.
const lookPeriod = time.Minute

// listen serves an address while there is something to serve, until ctx ends.
func (s *Server) listen(ctx context.Context, l *listener) {
	failures := 0
	for ctx.Err() == nil {
		if wait := s.ready(l); wait > 0 {
			l.wake.Sleep(ctx, wait)
			continue
		}
		began := time.Now()
		err := guard.Call(ctx, "serve ingresses", func() error { return s.serve(ctx, l) })
		if ctx.Err() != nil || err == nil {
			failures = 0
			continue
		}
		if time.Since(began) > backoff.Last {
			failures = 0
		}
		wait := backoff.After(failures)
		failures++
		s.cfg.Log.Error("ingresses are not served; trying again", "address", l.address, "err", err, "in", wait)
		message := fmt.Sprintf("%s is not served: %v", l.address, err)
		s.cfg.Warn(nil, "IngressNotServed", message)
		if l.fixed {
			for _, i := range s.own() {
				s.cfg.Warn(i, "IngressNotServed", message)
			}
		}
		s.warnGateways(l.port, message)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// serve serves an address until there is nothing to serve, or ctx ends, or it fails.
func (s *Server) serve(ctx context.Context, l *listener) error {
	on, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.address)
	if err != nil {
		return err
	}
	defer on.Close()
	s.cfg.Log.Info("ingresses are served", "address", on.Addr().String())
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		guard.Do(ctx, "end serving ingresses", func() {
			defer cancel()
			for s.wanted(l) && ctx.Err() == nil {
				l.wake.Sleep(ctx, lookPeriod)
			}
		})
	})
	at := serve.Place{Port: l.port, Ingresses: l.fixed}
	if l.secure {
		at.Certificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate(l, hello) }
	}
	return s.web.ServeAt(ctx, on, at)
}

// dialer connects to endpoints.
type dialer struct {
	pods   netip.Prefix
	source func() netip.Addr
	// pods6 and source6 are those of IPv6.
	pods6   netip.Prefix
	source6 func() netip.Addr
}

// dialTime is how long an endpoint may take to accept a connection.
const dialTime = 3 * time.Second

// dial speaks to pods from the address that pods know as their node's.
func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTime}
	to, err := netip.ParseAddrPort(address)
	if err == nil && to.Addr().Is6() {
		d.pods, d.source = d.pods6, d.source6
	}
	if err != nil || d.source == nil || !d.pods.Contains(to.Addr()) {
		return plain.DialContext(ctx, network, address)
	}
	from := d.source()
	if !from.IsValid() || from.Is4() != to.Addr().Is4() {
		return plain.DialContext(ctx, network, address)
	}
	own := &net.Dialer{Timeout: dialTime, LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Control: lateport}
	conn, err := own.DialContext(ctx, network, address)
	if errors.Is(err, unix.EADDRNOTAVAIL) { // the node has no pods, and no bridge, yet
		return plain.DialContext(ctx, network, address)
	}
	return conn, err
}

// lateport has the port chosen when the other end is known, so that there are as many as
// without an address of one's own for each endpoint, and not for all together.
func lateport(_, _ string, conn syscall.RawConn) error {
	var fault error
	err := conn.Control(func(fd uintptr) {
		fault = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(err, fault)
}
