package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Who waits for something to read learns at once that the connection was closed, while
// what was written may still be on its way; the agent's end ends the stream.
func TestCloseEndsAReadBeforeTheStream(t *testing.T) {
	var cancelled atomic.Bool
	in, received := io.Pipe()
	agent, sends := io.Pipe()
	sent, out := io.Pipe()
	s := &stream{in: in, out: out, cancel: func() { cancelled.Store(true) }}
	var wg sync.WaitGroup
	wg.Go(func() { s.pump(context.Background(), agent, received) })
	reading := make(chan struct{})
	wg.Go(func() {
		_, err := io.ReadFull(s, make([]byte, 3))
		if err == nil {
			close(reading)
			_, err = s.Read(make([]byte, 1))
		}
		if !errors.Is(err, net.ErrClosed) || cancelled.Load() {
			t.Errorf("the read ends with %v (the stream is cancelled: %t), want %v", err, cancelled.Load(), net.ErrClosed)
		}
	})
	if _, err := sends.Write([]byte("one")); err != nil {
		t.Fatal(err)
	}
	<-reading
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sent.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // a pipe's own
		t.Errorf("the agent is told %v, want the end", err)
	}
	if _, err := sends.Write([]byte("more that nobody reads")); err != nil {
		t.Errorf("what the agent still sends is not taken: %v", err)
	}
	_ = sends.Close()
	wg.Wait()
	if !cancelled.Load() {
		t.Error("the agent has ended the stream, and it is not at its end")
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read after the end: %v", err)
	}
}

// A tunnel that breaks ends reads.
func TestABrokenTunnelEndsReads(t *testing.T) {
	in, received := io.Pipe()
	agent, _ := io.Pipe()
	_, out := io.Pipe()
	s := &stream{in: in, out: out, cancel: func() { _ = agent.Close() }}
	living, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.pump(living, agent, received) })
	stop()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, errBroken) {
		t.Errorf("the read ends with %v, want %v", err, errBroken)
	}
	s.cancel()
	wg.Wait()
}
