package store

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/store/file"
	"headway.dev/engine/store/record"
	"headway.dev/engine/store/reserve"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// maxBatch bounds how many transactions share one commit of the file.
const maxBatch = 1024

// retryDelay is the pause after the disk refused a flush of Behind writes.
const retryDelay = time.Second

type request struct {
	ctx context.Context //nolint:containedctx // a request on a channel carries its caller's context
	tx  change.Tx
	// dryRun takes the transaction back after it has succeeded.
	dryRun bool
	// task, if set, is all that the request is: something that only the writer
	// may do.
	task func(*writer) error
	done chan outcome
}

func (r *request) durable() bool {
	return r.tx.Durability == change.Wait || len(r.tx.Append) > 0
}

type outcome struct {
	results []Result
	err     error
}

// writer is owned by its goroutine, run.
type writer struct {
	store   *Store
	file    *file.File
	log     *slog.Logger
	admit   []Admit
	along   func(object.Reader, object.Event) []change.Change
	observe func([]object.Event)
	codecs  func(schema.GroupKind) record.Codec
	cipher  record.Cipher
	indexes func(schema.GroupKind) Indexes

	// work is the newest state; between batches it equals the published one.
	work *state
	// dirty are the keys whose newest state is not in the file. Of every other
	// key, the record of its entry's revision is.
	dirty map[object.Key]dirtyKey
	// unreadable: see contents.
	unreadable map[object.Key]uint64
	// ceiling, as it is in the file, is at least every published revision.
	ceiling uint64
	// garbage are revisions of records without a use, in an order in which
	// they can be deleted: a deletion's own record after what it deleted.
	garbage    []uint64
	compacting bool
	reserve    *reserve.Reserve
	// pending are the records to append with the batch being processed.
	pending []change.Record

	delay time.Duration
	timer *time.Timer
	armed bool
}

// dirtyKey is the newest state of a key as it has to be written.
type dirtyKey struct {
	// revision of the newest change; entry is nil if that was a deletion.
	revision uint64
	entry    *entry
	// data is the encoded object, nil until the flush for Behind writes.
	data []byte
	// stored is the revision of the key's record in the file, 0 for none.
	stored uint64
	// broken means that it could not be encoded, which was reported.
	broken bool
}

func newWriter(s *Store, opts Options, c contents) *writer {
	w := &writer{
		store: s, file: s.file, log: opts.Log, admit: opts.Admit, along: opts.Along, observe: opts.Observe, codecs: opts.Codec, cipher: opts.Cipher, indexes: opts.Indexes,
		work:       &state{revision: c.revision, kinds: c.kinds},
		dirty:      map[object.Key]dirtyKey{},
		unreadable: c.unreadable,
		garbage:    c.garbage,
		// Nothing above the ceiling may be published: the first write of all
		// raises it.
		ceiling: c.revision,
		delay:   opts.FlushDelay,
		timer:   time.NewTimer(time.Hour),
	}
	w.timer.Stop()
	return w
}

// run is the writer goroutine: it ends when the store's requests are closed
// and served. After a panic it may be run again.
func (w *writer) run() {
	for {
		if w.wantsTick() {
			w.arm(w.delay)
		}
		select {
		case req, ok := <-w.store.requests:
			if !ok {
				w.store.err = w.finish()
				w.store.endWatches()
				return
			}
			w.serve(w.drain(req))
		case <-w.timer.C:
			w.armed = false
			w.tick()
		}
	}
}

// drain takes all that wait, and does not wait for more: while one batch is
// written to the disk, the next one gathers.
func (w *writer) drain(first *request) []*request {
	batch := []*request{first}
	for len(batch) < maxBatch {
		select {
		case req, ok := <-w.store.requests:
			if !ok {
				return batch
			}
			batch = append(batch, req)
		default:
			return batch
		}
	}
	return batch
}

// serve processes the Behind transactions first: they need not wait for the
// disk.
func (w *writer) serve(reqs []*request) {
	var behind, wait []*request
	for _, r := range reqs {
		switch {
		case r.task != nil:
			r.done <- outcome{err: guard.Call(r.ctx, "work on the store's file", func() error { return r.task(w) })}
		case r.durable():
			wait = append(wait, r)
		default:
			behind = append(behind, r)
		}
	}
	if len(behind) > 0 {
		w.process(behind, false)
	}
	if len(wait) > 0 {
		w.process(wait, true)
	}
	if w.reserve.Low() {
		w.makeRoom()
	}
}

// batch collects the effects of transactions until they are published or
// taken back.
type batch struct {
	undo   []undo
	events []event
}

type undo struct {
	key      object.Key
	entry    *entry
	dirty    dirtyKey
	wasDirty bool
}

func (w *writer) process(reqs []*request, durable bool) {
	outcomes := make([]outcome, len(reqs))
	// Whatever happens, who waits is answered.
	err := guard.Call(context.Background(), "write to the store", func() error { return w.commit(reqs, outcomes, durable) })
	for i, r := range reqs {
		if err != nil && outcomes[i].err == nil {
			outcomes[i] = outcome{err: err}
		}
		r.done <- outcomes[i]
	}
}

// commit applies transactions, notes what became of each, writes what they
// changed, and publishes it.
func (w *writer) commit(reqs []*request, outcomes []outcome, durable bool) (err error) {
	var b batch
	for i, r := range reqs {
		results, err := w.apply(&b, r, durable)
		outcomes[i] = outcome{results, err}
	}
	if len(b.events)+len(w.pending) == 0 {
		return nil
	}
	if durable || w.work.revision > w.ceiling {
		if err = w.flush(); reserve.IsFull(err) && w.makeRoom() {
			err = w.flush()
		}
	}
	w.pending = nil
	if err == nil {
		w.publish(b.events)
		return nil
	}
	// The revisions stay used: the disk may hold them after all.
	w.takeBack(&b, 0)
	if reserve.IsFull(err) {
		return reserve.NoSpace(w.store.path, err)
	}
	return fmt.Errorf("write to the store's file: %w", err)
}

// publish shows the observer the events, then readers the working state and
// watchers its events: who learns of a change and asks what the observer keeps
// must find it there.
func (w *writer) publish(events []event) {
	if w.observe != nil {
		public := make([]object.Event, len(events))
		for i, e := range events {
			public[i] = e.public()
		}
		w.tell(public)
	}
	changed := map[schema.GroupKind]bool{}
	for _, e := range events {
		changed[e.entry.key.GroupKind] = true
	}
	w.store.publish(w.snapshot(changed), events)
}

// tell shows events to the observer, whose panic is no matter of the store.
func (w *writer) tell(events []object.Event) {
	guard.Do(context.Background(), "observe the store's events", func() { w.observe(events) })
}

// observeAll shows the observer what the store was opened with.
func (w *writer) observeAll() {
	if w.observe == nil {
		return
	}
	var events []object.Event
	for _, c := range w.work.kinds {
		for e := range c.from("", "") {
			events = append(events, object.Event{Type: object.Added, Key: e.key, Object: e.object(), Revision: e.revision})
		}
	}
	slices.SortFunc(events, func(a, b object.Event) int { return cmp.Compare(a.Revision, b.Revision) })
	w.tell(events)
}

// snapshot is the working state for publication; changed are the kinds that
// differ from the published one, nil for all.
func (w *writer) snapshot(changed map[schema.GroupKind]bool) *state {
	next := &state{revision: w.work.revision, kinds: make(map[schema.GroupKind]*collection, len(w.work.kinds))}
	if changed == nil {
		for kind, c := range w.work.kinds {
			next.kinds[kind] = c.clone()
		}
		return next
	}
	maps.Copy(next.kinds, w.store.current.Load().kinds)
	for kind := range changed {
		next.kinds[kind] = w.work.kinds[kind].clone()
	}
	return next
}
