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

// Pulse finds out that this process itself stood still: it was stopped, or the
// machine slept, or it was put back from a snapshot. What it did not hear
// meanwhile says nothing about the nodes, so that all grace periods start anew.
type Pulse struct {
	grace time.Duration

	mu      sync.Mutex
	last    time.Time
	resumed time.Time
}

// NewPulse makes the pulse of controllers that give nodes this grace period; 0
// is DefaultGrace.
func NewPulse(grace time.Duration) *Pulse {
	if grace <= 0 {
		grace = DefaultGrace
	}
	return &Pulse{grace: grace}
}

// Beat notes that the process runs, and returns when it went on after it had
// last stood still, the zero time if it never did. It has to be called every
// so often (interval), and before any decision that rests on time that passed.
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
