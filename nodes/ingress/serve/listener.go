package serve

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// How many connections there may be, and of one client that is no trusted proxy; and how
// many requests at once, if Config does not say it.
const (
	mostConnections       = 20000
	mostPerClient         = 2000
	mostRequests          = 10000
	mostRequestsPerClient = 500
)

// proxyTime is how long a connection may take for the header of the PROXY protocol.
const proxyTime = 5 * time.Second

// guarded bounds the connections of a listener, and has trusted proxies say whom they
// are from.
func (s *Server) guarded(l net.Listener) net.Listener {
	l = &limited{Listener: l, server: s}
	if !s.cfg.ProxyProtocol {
		return l
	}
	return &proxyproto.Listener{
		Listener: l, ReadHeaderTimeout: proxyTime,
		ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			if s.trusts(addressOf(o.Upstream)) {
				return proxyproto.REQUIRE, nil
			}
			return proxyproto.SKIP, nil // who is no proxy speaks HTTP
		},
	}
}

// limits count connections, or requests.
type limits struct {
	most, perClient int

	mu      sync.Mutex
	all     int
	clients map[netip.Addr]int
}

func newLimits(most, perClient int) *limits {
	return &limits{most: most, perClient: perClient, clients: map[netip.Addr]int{}}
}

// verdict is whether there may be one more.
type verdict int

const (
	admitted verdict = iota
	tooMany
	tooManyOfClient
)

// enter counts one more, unless there are too many. client is not valid for one that is
// not limited by itself. What is admitted has to leave.
func (l *limits) enter(client netip.Addr) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.all >= l.most:
		return tooMany
	case client.IsValid() && l.clients[client] >= l.perClient:
		return tooManyOfClient
	}
	l.all++
	if client.IsValid() {
		l.clients[client]++
	}
	return admitted
}

func (l *limits) leave(client netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if !client.IsValid() {
		return
	}
	if l.clients[client]--; l.clients[client] <= 0 {
		delete(l.clients, client)
	}
}

// limited closes connections that are too many.
type limited struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := addressOf(conn.RemoteAddr())
		if l.server.trusts(client) {
			client = netip.Addr{}
		}
		if l.server.limits.enter(client) == admitted {
			l.server.metrics.connections.Inc()
			return &counted{Conn: conn, leave: sync.OnceFunc(func() {
				l.server.metrics.connections.Dec()
				l.server.limits.leave(client)
			})}, nil
		}
		l.server.metrics.refused.Inc()
		_ = conn.Close()
	}
}

type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

func addressOf(addr net.Addr) netip.Addr {
	if a, ok := addr.(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
