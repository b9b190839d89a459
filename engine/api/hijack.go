package api

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"sync"
)

// hijacked keeps the connections that handlers have taken over (exec, attach,
// port-forward), which http.Server no longer knows, to end them at shutdown.
type hijacked struct {
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// track wraps the connection that each handler may take over.
func (h *hijacked) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// HTTP/2 connections cannot be taken over; their writer stays as it is.
		full, ok := w.(fullWriter)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		tracked := &trackedWriter{fullWriter: full, owner: h}
		defer tracked.forget()
		next.ServeHTTP(tracked, r)
	})
}

// close ends all connections, and those taken over from now on.
func (h *hijacked) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c := range h.conns {
		_ = c.Close() // its handler reports what that breaks
	}
}

// fullWriter is what the writers of HTTP/1 connections implement. The library
// looks for CloseNotifier to tell whether it may stream.
type fullWriter interface {
	http.ResponseWriter
	http.Flusher
	http.Hijacker
	http.CloseNotifier //nolint:staticcheck // the library asks for it
}

type trackedWriter struct {
	fullWriter
	owner *hijacked
	conn  net.Conn
}

// Hijack implements http.Hijacker.
func (w *trackedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := w.fullWriter.Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	if w.owner.closed {
		return nil, nil, errors.Join(errors.New("the server is shutting down"), conn.Close())
	}
	if w.owner.conns == nil {
		w.owner.conns = map[net.Conn]struct{}{}
	}
	w.owner.conns[conn] = struct{}{}
	w.conn = conn
	return conn, rw, nil
}

func (w *trackedWriter) forget() {
	if w.conn != nil {
		w.owner.mu.Lock()
		defer w.owner.mu.Unlock()
		delete(w.owner.conns, w.conn)
	}
}
