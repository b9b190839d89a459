package syncer

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
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

// pace is the time between two looks for a spec.interval or
// spec.retryInterval.
func pace(interval time.Duration) time.Duration {
	if interval <= 0 {
		interval = time.Minute
	}
	return jitter(min(max(interval, minPace), maxPace))
}

// jitter spreads d by up to a twentieth either way.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.1*float64(d))
}

// backoff counts failures, by what is to blame: a source, or a host for all of
// its sources, so that those of one that is down do not ask it in turns.
type backoff struct {
	mu       sync.Mutex
	failures map[string]int
}

// failed is how long to wait before the next try.
func (b *backoff) failed(blame string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures == nil {
		b.failures = map[string]int{}
	}
	n := b.failures[blame]
	b.failures[blame] = n + 1
	return waitAfter(n)
}

// waitAfter is how long to wait after so many failures before this one.
func waitAfter(failures int) time.Duration {
	d := maxBackoff
	if failures < 20 {
		d = min(maxBackoff, minBackoff<<failures)
	}
	return jitter(d)
}

// succeeded forgets failures.
func (b *backoff) succeeded(blames ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, blame := range blames {
		delete(b.failures, blame)
	}
}

// blame is what a failed look counts against. It is the host only if that took
// no connection: a repository that is gone, too large or never sent must not
// make the others of its host wait, and neither must a proxy or an API that
// only this source uses.
func (src *source) blame(obj *sourcev1.GitRepository, err error) string {
	dial, ok := errors.AsType[*net.OpError](err)
	if ok && dial.Op == "dial" && obj.Spec.ProxySecretRef == nil && obj.GetProvider() == sourcev1.GitProviderGeneric {
		return src.host(obj)
	}
	return src.name()
}
