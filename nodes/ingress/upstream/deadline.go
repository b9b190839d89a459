package upstream

import (
	"context"
	"sync"
	"time"

	"headway.dev/manifests/guard"
)

// deadline ends a request whose answer does not begin in time. The body of the request
// may still be read, and extend it, while the answer begins and stops it: once it is
// stopped or has passed it stays so.
type deadline struct {
	after time.Duration // 0: there is none

	mu     sync.Mutex
	timer  *time.Timer
	over   bool // stopped or passed
	passed bool
}

// newDeadline begins a deadline that calls cancel with ErrTimeout.
func newDeadline(ctx context.Context, after time.Duration, cancel context.CancelCauseFunc) *deadline {
	d := &deadline{after: after}
	if after <= 0 {
		return d
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = time.AfterFunc(after, func() {
		guard.Do(ctx, "end a request that takes too long", func() {
			if d.pass() {
				cancel(ErrTimeout)
			}
		})
	})
	return d
}

// pass reports whether the deadline was not over before.
func (d *deadline) pass() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return false
	}
	d.over, d.passed = true, true
	return true
}

// extend begins the time anew.
func (d *deadline) extend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.over {
		d.timer.Reset(d.after)
	}
}

// stop ends the deadline, and reports whether it has passed.
func (d *deadline) stop() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.timer != nil {
		d.timer.Stop()
	}
	return d.passed
}
