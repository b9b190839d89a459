package source

import (
	"context"
	"time"
)

// hookPace is the least time between the beginnings of two looks at a source
// that webhooks ask for: what comes meanwhile is answered by one.
const hookPace = time.Second

// Hook makes a webhook's request to fetch the source.
func (src *Source) Hook() {
	src.mu.Lock()
	src.hooked = true
	src.mu.Unlock()
	src.wake.Set()
}

// takeHooked reports whether a webhook asked for a look since it was called last.
func (src *Source) takeHooked() bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	hooked := src.hooked
	src.hooked = false
	return hooked
}

// holdBack waits while the last look, which began at a time, is too recent for
// another one that only webhooks ask for. It reports whether to go on.
func (src *Source) holdBack(ctx context.Context, began time.Time) bool {
	for src.takeHooked() {
		wait := hookPace - src.set.env.Now().Sub(began)
		if wait <= 0 {
			break
		}
		if !src.wake.Sleep(ctx, min(wait, hookPace)) {
			return false
		}
	}
	return ctx.Err() == nil
}

// Wake requests that the source be fetched.
func (src *Source) Wake() { src.wake.Set() }
