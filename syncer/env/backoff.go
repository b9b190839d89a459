package env

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	minBackoff = 750 * time.Millisecond
	maxBackoff = 15 * time.Minute
	// minPace and maxPace bound the intervals that a user asks for. One of a
	// nanosecond would be a busy loop that takes the machine from all others,
	// and one of centuries plus jitter would overflow into the past.
	minPace = time.Second
	maxPace = 10 * 365 * 24 * time.Hour
)

// Pace is the time between two reconciles for a spec.interval or
// spec.retryInterval.
func Pace(interval time.Duration) time.Duration {
	if interval <= 0 {
		interval = time.Minute
	}
	return Jitter(min(max(interval, minPace), maxPace))
}

// Jitter spreads d by up to a twentieth either way.
func Jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.1*float64(d))
}

// Backoff counts failures by what is to blame: a source, or a host for all of
// its sources, so that the sources of a host that is down do not try it one
// after another.
type Backoff struct {
	mu       sync.Mutex
	failures map[string]int
}

// Failed records a failure and returns how long to wait before the next try.
func (b *Backoff) Failed(blame string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures == nil {
		b.failures = map[string]int{}
	}
	n := b.failures[blame]
	b.failures[blame] = n + 1
	return WaitAfter(n)
}

// WaitAfter returns how long to wait after a number of earlier failures and
// this one.
func WaitAfter(failures int) time.Duration {
	d := maxBackoff
	if failures < 20 {
		d = min(maxBackoff, minBackoff<<failures)
	}
	return Jitter(d)
}

// Succeeded forgets failures.
func (b *Backoff) Succeeded(blames ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, blame := range blames {
		delete(b.failures, blame)
	}
}
