package env

import (
	"sync"

	"headway.dev/syncer/wire"
)

// Feed passes progress to its subscribers.
type Feed struct {
	mu   sync.Mutex
	subs map[chan wire.Event]bool
}

// Send sends an event to the subscribers.
func (f *Feed) Send(ev wire.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subs {
		select {
		case ch <- ev:
		default: // a slow listener misses steps and stops nobody
		}
	}
}

// Nudge makes the subscribers look at the state again. Events are sent before
// the state shows them, and the nudge after.
func (f *Feed) Nudge() { f.Send(wire.Event{}) }

// Subscribe returns a channel of progress and a function that ends it. A
// listener that falls far behind misses events.
func (f *Feed) Subscribe() (<-chan wire.Event, func()) {
	ch := make(chan wire.Event, 256)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[chan wire.Event]bool{}
	}
	f.subs[ch] = true
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, ch)
	}
}
