// Package slot limits how many operations run in parallel, without letting
// those that hang keep out the others.
package slot

import (
	"context"
	"sync"
	"time"
)

// Slots limit work that shares the machine.
type Slots struct {
	taken chan struct{}
	limit time.Duration
}

// New returns n slots. A holder that keeps one for longer than limit loses it
// and goes on without: work that takes so long is waiting for something, and
// must not make all others wait for it too.
func New(n int, limit time.Duration) *Slots {
	return &Slots{taken: make(chan struct{}, n), limit: limit}
}

// Take waits for a slot. The release may be called more than once.
func (s *Slots) Take(ctx context.Context) (release func(), err error) {
	select {
	case s.taken <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	give := sync.OnceFunc(func() { <-s.taken })
	timer := time.AfterFunc(s.limit, give)
	return func() {
		timer.Stop()
		give()
	}, nil
}
