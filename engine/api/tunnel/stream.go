package tunnel

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"headway.dev/manifests/guard"
)

// linger is how long what was written before the end may take to arrive.
const linger = 5 * time.Second

// stream is a connection through a tunnel. A deadline that passes ends it, unlike that of
// a socket, which can be moved afterwards.
type stream struct {
	in            *io.PipeReader // of pump
	out           *io.PipeWriter
	cancel        context.CancelFunc
	local, remote net.Addr
	late, closed  atomic.Bool

	mu          sync.Mutex
	read, write *time.Timer
}

// pump hands on what the agent sends, until it sends no more or broken is done. Reads of
// HTTP/2 do not end before the stream does, and the stream not before all is sent that was
// written: those of the pipe end when the connection is closed.
func (s *stream) pump(broken context.Context, from io.Reader, to *io.PipeWriter) {
	defer context.AfterFunc(broken, func() {
		guard.Do(broken, "end the reads of a broken tunnel", func() { _ = to.CloseWithError(errBroken) })
	})()
	_, err := io.Copy(to, from)
	_ = to.CloseWithError(err) // nil is io.EOF
	if s.closed.Load() {
		_, _ = io.Copy(io.Discard, from) // until the agent has ended it, too
		s.cancel()
	}
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	return n, s.because(err)
}

// Write implements net.Conn. It returns once HTTP/2 has taken all, which waits until the
// other side has room for it.
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	return n, s.because(err)
}

// because is why a read or write has failed.
func (s *stream) because(err error) error {
	switch {
	case err == nil:
		return nil
	case s.late.Load():
		return os.ErrDeadlineExceeded
	case s.closed.Load():
		return net.ErrClosed
	default:
		return err
	}
}

// CloseWrite tells the other side that no more comes.
func (s *stream) CloseWrite() error { return s.out.Close() }

// Close implements net.Conn.
func (s *stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.set(&s.read, time.Time{})
	s.set(&s.write, time.Time{})
	_ = s.in.Close()
	// The end follows what was written. Then the agent ends the stream, or nobody
	// waits for that any longer.
	_ = s.out.Close()
	time.AfterFunc(linger, func() { guard.Do(context.Background(), "end a connection to a node", s.cancel) })
	return nil
}

// LocalAddr implements net.Conn.
func (s *stream) LocalAddr() net.Addr { return s.local }

// RemoteAddr implements net.Conn.
func (s *stream) RemoteAddr() net.Addr { return s.remote }

// SetDeadline implements net.Conn.
func (s *stream) SetDeadline(t time.Time) error {
	s.set(&s.read, t)
	s.set(&s.write, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.set(&s.read, t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.set(&s.write, t)
	return nil
}

func (s *stream) set(timer **time.Timer, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if t.IsZero() || s.closed.Load() {
		return
	}
	*timer = time.AfterFunc(time.Until(t), func() { guard.Do(context.Background(), "end a late connection to a node", s.expire) })
}

func (s *stream) expire() {
	s.late.Store(true)
	s.cancel()
	_ = s.Close()
}
