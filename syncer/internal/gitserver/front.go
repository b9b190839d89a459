package gitserver

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Front listens on a free port of host, passes connections on to target, and
// counts them.
func Front(tb testing.TB, host, target string) (addr string, accepted func() int) {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		tb.Fatal(err)
	}
	var n atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			wg.Go(func() { pass(tb.Context(), c, target) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String(), func() int { return int(n.Load()) }
}

// pass copies both ways until either side ends.
func pass(ctx context.Context, c net.Conn, target string) {
	defer c.Close()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{server, c}, {c, server}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // the side that ended tells the other
			if half, ok := way[0].(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
		})
	}
	wg.Wait()
}
