package env

import (
	"time"

	"headway.dev/manifests/loop"
)

const (
	// minPace and maxPace bound the intervals that a user asks for. One of a
	// nanosecond would be a busy loop that takes the machine from all others,
	// and one of centuries plus jitter would overflow into the past.
	minPace = time.Second
	maxPace = 10 * 365 * 24 * time.Hour
	// jitter is the part by which waits differ, so that not all end at once.
	jitter = 0.05
)

// Retry is how long the syncer waits after failures.
var Retry = loop.Backoff{First: 750 * time.Millisecond, Last: 15 * time.Minute, Spread: jitter}

// Pace is the time between two reconciles for a spec.interval or
// spec.retryInterval.
func Pace(interval time.Duration) time.Duration {
	if interval <= 0 {
		interval = time.Minute
	}
	return Jitter(min(max(interval, minPace), maxPace))
}

// Jitter spreads d by up to a twentieth either way.
func Jitter(d time.Duration) time.Duration { return loop.Spread(d, jitter) }
