package storage

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

// expiry removes objects whose time to live is over. A later write to the
// object ends the older time to live.
type expiry struct {
	storage *Storage
	cancel  context.CancelFunc
	ctx     context.Context //nolint:containedctx // the life of the goroutine, which starts with the first deadline
	wake    chan struct{}
	done    sync.WaitGroup

	mu      sync.Mutex
	queue   deadlines
	running bool
}

type deadline struct {
	at      time.Time
	key     object.Key
	version string
}

func newExpiry(s *Storage) *expiry {
	ctx, cancel := context.WithCancel(context.Background())
	return &expiry{storage: s, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1)}
}

func (e *expiry) stop() {
	e.mu.Lock()
	e.cancel()
	e.mu.Unlock()
	e.done.Wait()
}

// set gives the stored obj ttl seconds to live; 0 is for ever.
func (e *expiry) set(key object.Key, obj object.Object, ttl uint64) {
	if ttl == 0 || obj == nil {
		return
	}
	const most = 100 * 365 * 24 * 60 * 60 // more would overflow a Duration
	e.add(deadline{time.Now().Add(time.Duration(min(ttl, most)) * time.Second), key, obj.GetResourceVersion()})
}

// restore gives all stored objects ttl to live.
func (e *expiry) restore(ttl time.Duration) {
	at := time.Now().Add(ttl)
	for key, obj := range e.storage.store.Snapshot(e.storage.kind).From("", "") {
		key.GroupKind = e.storage.kind
		e.add(deadline{at, key, obj.GetResourceVersion()})
	}
}

func (e *expiry) add(d deadline) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return
	}
	heap.Push(&e.queue, d)
	if !e.running {
		e.running = true
		e.done.Go(func() {
			_ = guard.Loop(e.ctx, "remove expired objects", func(context.Context) error { e.run(); return nil }) // run has no error
		})
		return
	}
	if e.queue[0] == d {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

func (e *expiry) run() {
	for {
		due, wait := e.next()
		for _, d := range due {
			e.remove(d)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.wake:
		case <-e.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// next takes what is due, and says how long to wait for the next.
func (e *expiry) next() ([]deadline, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	var due []deadline
	for len(e.queue) > 0 && !e.queue[0].at.After(now) {
		due = append(due, heap.Pop(&e.queue).(deadline))
	}
	if len(e.queue) == 0 {
		return due, time.Hour
	}
	return due, e.queue[0].at.Sub(now)
}

// remove deletes the object if nobody has written it since. A failure is not
// tried again before the next restart: the store's error shows elsewhere.
func (e *expiry) remove(d deadline) {
	_, _, _ = e.storage.commit(e.ctx, d.key, func(current object.Object) (object.Object, error) {
		if current == nil || current.GetResourceVersion() != d.version {
			return current, nil
		}
		return nil, nil
	})
}

// deadlines is a heap, the nearest first.
type deadlines []deadline

func (q deadlines) Len() int           { return len(q) }
func (q deadlines) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q deadlines) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *deadlines) Push(x any)        { *q = append(*q, x.(deadline)) }

func (q *deadlines) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	*q = (*q)[:last]
	return d
}
