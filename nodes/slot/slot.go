// Package slot bounds how many do something side by side, without letting
// those that hang keep out the others.
package slot

import (
	"context"
	"sync"
	"time"
)

// Slots are places for work that the machine has to share.
type Slots struct {
	taken chan struct{}
	limit time.Duration
}

// New makes n slots. Who keeps one for longer than limit loses it and goes on
// without: work that takes that long waits for something, and must not make all
// others wait for the same.
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
