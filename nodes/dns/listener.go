package dns

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// How long a connection may take for a question or an answer, and may be without
// either; and how many there may be, and of one client.
const (
	tcpWait      = 2 * time.Second
	tcpIdle      = 8 * time.Second
	tcpMost      = 500
	tcpPerClient = 100
)

// limited closes connections that are too many.
type limited struct {
	net.Listener

	mu      sync.Mutex
	all     int
	clients map[netip.Addr]int
}

func limit(l net.Listener) net.Listener {
	return &limited{Listener: l, clients: map[netip.Addr]int{}}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := clientOf(conn.RemoteAddr())
		if l.enter(client) {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { l.leave(client) })}, nil
		}
		_ = conn.Close()
	}
}

func (l *limited) enter(client netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= tcpMost || l.clients[client] >= tcpPerClient {
		return false
	}
	l.all++
	l.clients[client]++
	return true
}

func (l *limited) leave(client netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.clients[client]--; l.clients[client] <= 0 {
		delete(l.clients, client)
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

// clientOf is the address of a client.
func clientOf(addr net.Addr) netip.Addr {
	switch a := addr.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
