package api

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
)

// Webhooks come from whoever wants to send one, and are read before it is known
// who that is. What bounds them must not let the slow keep out the quick: where
// there are too many, the one goes that has been arriving for longest.
const (
	maxHooksOfAddress  = 16
	maxHooksOfReceiver = 64
	maxHooks           = 256
	// maxHookBytes bounds what is read of all of them.
	maxHookBytes = 32 << 20
)

var errCrowded = errors.New("too many webhooks arrive")

// arrivals are the webhooks that are being read, the oldest first.
type arrivals struct {
	mu    sync.Mutex
	list  []*arrival
	bytes int64
}

type arrival struct {
	address, receiver string
	drop              func()
	dropped           bool
	bytes             int64
}

// enter adds one, and drops others that are too many for it. drop ends the
// reading of this one.
func (q *arrivals) enter(remote, receiver string, drop func()) *arrival {
	a := &arrival{address: network(remote), receiver: receiver, drop: drop}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.thin(maxHooksOfAddress, func(o *arrival) bool { return o.address == a.address })
	q.thin(maxHooksOfReceiver, func(o *arrival) bool { return o.receiver == a.receiver })
	q.thin(maxHooks, func(*arrival) bool { return true })
	q.list = append(q.list, a)
	return a
}

// thin drops the oldest of some if there are as many as there may be.
func (q *arrivals) thin(most int, of func(*arrival) bool) {
	n, oldest := 0, -1
	for i, o := range q.list {
		if of(o) {
			if n++; oldest < 0 {
				oldest = i
			}
		}
	}
	if n < most {
		return
	}
	o := q.list[oldest]
	q.list = slices.Delete(q.list, oldest, oldest+1)
	o.dropped = true
	o.drop()
}

// leave takes one out that was read, and reports whether it was dropped.
func (q *arrivals) leave(a *arrival) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= a.bytes
	a.bytes = 0
	if i := slices.Index(q.list, a); i >= 0 {
		q.list = slices.Delete(q.list, i, i+1)
	}
	return a.dropped
}

// network is whom a remote address stands for: a host, or with IPv6 those who
// share a prefix, which one host may have.
func network(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

// counted counts what is read of all arrivals together.
type counted struct {
	io.Reader
	queue *arrivals
	of    *arrival
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	c.queue.bytes += int64(n)
	c.of.bytes += int64(n)
	if c.queue.bytes > maxHookBytes {
		return n, errCrowded
	}
	return n, err
}
