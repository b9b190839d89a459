package store

import (
	"sort"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// event is one published change. entry is the new state; of a deletion, the
// last state with the deletion's resourceVersion.
type event struct {
	kind       object.EventType
	revision   uint64
	entry, old *entry
	// at is when it was published, in Unix nanoseconds.
	at int64
}

// eventWeight is about what an event takes without the states that it is about.
const eventWeight = 100

// weight is how many bytes the event alone keeps in memory: itself and, as it is
// encoded, the state that it replaced. The new state is the store's own, or
// becomes the old one of the next event of its key; that of a deletion shares
// what it holds with the old one.
func (e event) weight() int64 {
	if e.old == nil {
		return eventWeight
	}
	return eventWeight + e.old.size
}

func (e event) public() object.Event {
	out := object.Event{Type: e.kind, Key: e.entry.key, Object: e.entry.object(), Revision: e.revision}
	if e.old != nil {
		out.Old = e.old.object()
	}
	return out
}

// history is the ring of the newest events of one kind, in the order of their
// revisions. Store.mu guards it.
type history struct {
	// ring grows up to limit, and beyond it while its oldest event is fresh; then
	// that makes room for the next.
	ring  []event
	limit int
	fresh time.Duration
	start int
	count int
	// first is the number of the oldest event: they are numbered as they come.
	first uint64
	// weight is that of all events kept.
	weight int64
	// forgotten is the revision of the newest event that is no longer kept.
	forgotten uint64
	// changed is closed and replaced when there is a new event; woken is the
	// newest revision at which it was.
	changed chan struct{}
	woken   uint64
	// topics are what those wait for who do not want all events.
	topics map[term]*topic
}

func (h *history) at(i int) event { return h.ring[(h.start+i)%len(h.ring)] }

// numbered is the event with a number.
func (h *history) numbered(n uint64) event { return h.at(int(n - h.first)) }

func (h *history) add(e event) {
	for h.count >= h.limit && (h.fresh == 0 || h.ring[h.start].at < e.at-int64(h.fresh)) {
		h.drop()
	}
	if h.count == len(h.ring) {
		h.resize(max(16, 2*len(h.ring)))
	}
	h.ring[(h.start+h.count)%len(h.ring)] = e
	h.count++
	h.weight += e.weight()
}

// resize moves the events to a ring of another size.
func (h *history) resize(size int) {
	next := make([]event, size)
	for i := range h.count {
		next[i] = h.at(i)
	}
	h.ring, h.start = next, 0
}

func (h *history) drop() {
	oldest := h.ring[h.start]
	h.lose(oldest)
	h.forgotten = oldest.revision
	h.weight -= oldest.weight()
	h.ring[h.start] = event{}
	h.start = (h.start + 1) % len(h.ring)
	h.count--
	h.first++
}

// after is the index of the first event after revision.
func (h *history) after(revision uint64) int {
	return sort.Search(h.count, func(i int) bool { return h.at(i).revision > revision })
}

// alwaysKept is how many events are kept whatever their age.
const alwaysKept = 128

// expire drops the events published before, in Unix nanoseconds, and gives back
// the room that a busy time needed.
func (h *history) expire(before int64) {
	for h.count > alwaysKept && h.ring[h.start].at < before {
		h.drop()
	}
	if len(h.ring) > 4*max(h.limit, h.count) {
		h.resize(2 * h.count)
	}
}

// forget drops events that became too old, then the oldest ones of whichever
// kind keeps the most bytes until all together are within the budget: who
// changes large objects makes nobody forget the events of small ones. s.mu must
// be held for writing.
func (s *Store) forget(now time.Time) {
	before := now.Add(-s.age).UnixNano()
	var total int64
	for _, h := range s.histories {
		h.expire(before)
		total += h.weight
	}
	for total > s.budget {
		var heaviest *history
		for _, h := range s.histories {
			if heaviest == nil || h.weight > heaviest.weight {
				heaviest = h
			}
		}
		total -= heaviest.weight
		heaviest.drop()
		total += heaviest.weight
	}
}

// publish makes next the readable state and adds its events, in one step, then
// wakes the watchers that may want them.
func (s *Store) publish(next *state, events []event) {
	for _, c := range s.replace(next, events) {
		close(c)
	}
}

// replace is the step of publish that nobody sees a part of. It returns what
// the watchers concerned wait for.
func (s *Store) replace(next *state, events []event) (wake []chan struct{}) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	wake = []chan struct{}{s.changed}
	s.changed = make(chan struct{})
	for _, e := range events {
		h := s.history(e.entry.key.GroupKind)
		e.at = now.UnixNano()
		h.add(e)
		wake = h.note(e, next.revision, wake)
		if h.woken != next.revision {
			h.woken = next.revision
			wake = append(wake, h.changed)
			h.changed = make(chan struct{})
		}
	}
	s.forget(now)
	s.current.Store(next)
	return wake
}

// endWatches wakes all watchers for the last time.
func (s *Store) endWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	close(s.changed)
	for _, h := range s.histories {
		close(h.changed)
		for _, t := range h.topics {
			close(t.changed)
		}
	}
}

// history finds or makes the history of a kind; s.mu must be held for writing.
func (s *Store) history(kind schema.GroupKind) *history {
	h := s.histories[kind]
	if h == nil {
		h = &history{limit: s.limit, fresh: s.fresh, forgotten: s.forgotten, changed: make(chan struct{})}
		if s.done {
			close(h.changed)
		}
		s.histories[kind] = h
	}
	return h
}

// Forget drops the events up to and including revision of all kinds, as if the
// rings had overflowed: watches and lists of older states fail with
// object.ErrExpired. Tests of expiry use it.
func (s *Store) Forget(revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	revision = min(revision, s.current.Load().revision)
	s.forgotten = max(s.forgotten, revision)
	for _, h := range s.histories {
		for h.count > 0 && h.ring[h.start].revision <= revision {
			h.drop()
		}
		h.forgotten = max(h.forgotten, revision)
	}
}

// Forgotten returns the newest revision before which a watch or SnapshotAt of
// the kind can no longer start.
func (s *Store) Forgotten(kind schema.GroupKind) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if h := s.histories[kind]; h != nil {
		return h.forgotten
	}
	return s.forgotten
}
