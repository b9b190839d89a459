package node

import (
	"sync"
	"time"
)

const (
	// beats is how many times in a grace period the pulse is felt.
	beats = 20
	// shortPause is for how long the process may stand still at least without
	// any consequence.
	shortPause = 5 * time.Second
)

// Pulse detects that this process itself stood still: it was stopped, or the
// machine slept or was restored from a snapshot. Heartbeats that it did not
// hear meanwhile say nothing about the nodes, so all grace periods start anew.
type Pulse struct {
	grace time.Duration

	mu      sync.Mutex
	last    time.Time
	resumed time.Time
}

// NewPulse returns the pulse of controllers that give nodes this grace period;
// 0 is DefaultGrace.
func NewPulse(grace time.Duration) *Pulse {
	if grace <= 0 {
		grace = DefaultGrace
	}
	return &Pulse{grace: grace}
}

// Beat records that the process is running. It returns the time when the
// process continued after it last stood still, the zero time if it never did.
// It must be called regularly (see interval), and before any decision that
// depends on elapsed time.
func (p *Pulse) Beat(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	// By both clocks: the monotonic one stands still while the machine sleeps,
	// the other one may be set back.
	gap := max(now.Sub(p.last), now.Round(0).Sub(p.last.Round(0)))
	if !p.last.IsZero() && gap > max(shortPause, p.grace/4) {
		p.resumed = now
	}
	p.last = now
	return p.resumed
}

// interval is the time between two beats.
func (p *Pulse) interval() time.Duration { return p.grace / beats }

// left is for how long what nodes did not say has no consequences yet, because
// the process stood still just before.
func (p *Pulse) left(now time.Time) time.Duration {
	resumed := p.Beat(now)
	if resumed.IsZero() {
		return 0
	}
	return max(0, resumed.Add(p.grace).Sub(now))
}
