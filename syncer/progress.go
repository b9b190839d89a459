package syncer

import (
	"sync"

	"headway.dev/syncer/wire"
)

// feed hands progress to those who subscribed.
type feed struct {
	mu   sync.Mutex
	subs map[chan wire.Event]bool
}

// emit reports progress, stamped with the time.
func (s *Syncer) emit(ev wire.Event) {
	ev.Time = s.now()
	if s.cfg.Progress != nil {
		s.cfg.Progress(ev)
	}
	s.feed.send(ev)
	s.statuses.observe(ev)
}

func (f *feed) send(ev wire.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subs {
		select {
		case ch <- ev:
		default: // a slow listener misses steps and stops nobody
		}
	}
}

// nudge makes those who subscribed look at the state again. What is told is
// sent before the state says so, and the nudge after it.
func (f *feed) nudge() { f.send(wire.Event{}) }

// Subscribe returns a channel of progress and a function that ends it. A
// listener that falls far behind misses events.
func (s *Syncer) Subscribe() (<-chan wire.Event, func()) {
	ch := make(chan wire.Event, 256)
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if s.feed.subs == nil {
		s.feed.subs = map[chan wire.Event]bool{}
	}
	s.feed.subs[ch] = true
	return ch, func() {
		s.feed.mu.Lock()
		defer s.feed.mu.Unlock()
		delete(s.feed.subs, ch)
	}
}
