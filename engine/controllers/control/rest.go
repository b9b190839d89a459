package control

import (
	"sync"
	"time"

	"headway.dev/manifests/model/object"
)

// After a write of counts there is none for restAfter times as long as it took, but not
// for more than longestRest.
const (
	restAfter   = 10
	longestRest = 100 * time.Millisecond
)

// Rest bounds how often counts are written that only tell how far something is: pods that
// start together become ready one after the other, and each write of an object is seen by
// everybody. Where writes are fast nobody notices; where there is much to write, much of it
// is not worth writing.
type Rest struct {
	mu    sync.Mutex
	until map[object.Key]time.Time
}

// NewRest returns one in which no key rests.
func NewRest() *Rest { return &Rest{until: map[object.Key]time.Time{}} }

// Wrote begins the rest of a key, which was written in some time.
func (r *Rest) Wrote(key object.Key, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if len(r.until) >= 1024 {
		for key, until := range r.until {
			if !now.Before(until) {
				delete(r.until, key)
			}
		}
	}
	r.until[key] = now.Add(min(restAfter*took, longestRest))
}

// Left is how long a key still rests; it is not positive if it does not.
func (r *Rest) Left(key object.Key) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.until[key])
}
