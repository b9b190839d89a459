package loop

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Backoff is how long to wait after failures: First at first, then twice as
// long after each, and never longer than Last.
type Backoff struct {
	First, Last time.Duration
	// Spread is the part of the wait by which it is randomly longer or shorter,
	// so that things that failed together are not tried together again.
	Spread float64
}

// After returns the wait after a failure that followed so many others in a row.
func (b Backoff) After(failures int) time.Duration {
	wait := b.First
	for ; failures > 0 && wait < b.Last; failures-- {
		wait *= 2
	}
	return Spread(min(wait, b.Last), b.Spread)
}

// Spread makes d randomly longer or shorter, by up to a part of it.
func Spread(d time.Duration, part float64) time.Duration {
	return d + time.Duration((2*rand.Float64()-1)*part*float64(d))
}

// Failures counts failures in a row, by what is to blame for them. It is a
// workqueue.TypedRateLimiter.
type Failures[K comparable] struct {
	backoff Backoff
	mu      sync.Mutex
	counts  map[K]int
}

// NewFailures returns a count without failures.
func NewFailures[K comparable](backoff Backoff) *Failures[K] {
	return &Failures[K]{backoff: backoff, counts: map[K]int{}}
}

// When counts one more failure, and returns how long to wait before the next
// try.
func (f *Failures[K]) When(blame K) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.counts[blame]
	f.counts[blame] = before + 1
	return f.backoff.After(before)
}

// Forget resets the count, after a success.
func (f *Failures[K]) Forget(blame K) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.counts, blame)
}

// NumRequeues returns the number of failures since the last success.
func (f *Failures[K]) NumRequeues(blame K) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[blame]
}
