package limits

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// Hijacked keeps the connections that handlers have taken over (exec, attach,
// port-forward), which http.Server no longer knows, so that they can be ended
// at shutdown. It also counts the running handlers, to wait for them.
type Hijacked struct {
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	closed  bool
	running int
	idle    chan struct{} // closed when none runs, once someone waits
}

// Track wraps the connection that each handler may take over.
func (h *Hijacked) Track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.Count(1)
		defer h.Count(-1)
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

// Close ends all connections, and those taken over from now on.
func (h *Hijacked) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c := range h.conns {
		_ = c.Close() // its handler reports what that breaks
	}
}

// Count adds n to the number of running handlers.
func (h *Hijacked) Count(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running += n; h.running == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

// Wait returns when no handler runs, or ctx ends.
func (h *Hijacked) Wait(ctx context.Context) error {
	h.mu.Lock()
	if h.running == 0 {
		h.mu.Unlock()
		return nil
	}
	idle := make(chan struct{})
	h.idle = idle
	h.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
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
	owner *Hijacked
	conn  net.Conn
}

// Unwrap lets http.ResponseController find the deadlines of the connection.
func (w *trackedWriter) Unwrap() http.ResponseWriter { return w.fullWriter }

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
