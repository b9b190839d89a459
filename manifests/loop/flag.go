package loop

import (
	"context"
	"time"
)

// Flag wakes one loop, however often it is set.
type Flag chan struct{}

// NewFlag returns a flag that is not set.
func NewFlag() Flag { return make(Flag, 1) }

// Set wakes the loop that sleeps, or that goes to sleep next.
func (f Flag) Set() {
	select {
	case f <- struct{}{}:
	default:
	}
}

// Sleep waits for the flag, the context, or d (for ever if not positive), and
// reports whether to continue.
func (f Flag) Sleep(ctx context.Context, d time.Duration) bool {
	var after <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-f:
	case <-after:
	}
	return ctx.Err() == nil
}
