package store

import (
	"fmt"
	"slices"

	"headway.dev/engine/store/record"
	"headway.dev/engine/store/reserve"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// apply runs one transaction on the working state. If it fails, or was only a
// dry run, the working state is as it was.
func (w *writer) apply(b *batch, r *request, durable bool) (results []Result, err error) {
	undone, events, revision := len(b.undo), len(b.events), w.work.revision
	defer func() {
		if p := recover(); p != nil {
			guard.Report(r.ctx, "transaction of the store", p)
			err = fmt.Errorf("store: panic in a transaction: %v", p)
		}
		if err == nil && !r.dryRun {
			w.pending = append(w.pending, r.tx.Append...)
			return
		}
		w.takeBack(b, undone)
		b.events = b.events[:events]
		w.work.revision = revision
		if err != nil {
			results = nil
		}
	}()
	if err := r.ctx.Err(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	results = make([]Result, len(r.tx.Changes))
	for i, c := range r.tx.Changes {
		before := w.work.revision
		if err := w.applyChange(b, c, durable); err != nil {
			return nil, err
		}
		if w.work.revision == before {
			continue
		}
		results[i].Revision = w.work.revision
		if err := w.applyAlong(b, r.tx.Changes, durable); err != nil {
			return nil, err
		}
	}
	for i, c := range r.tx.Changes {
		results[i].Object = w.work.get(c.Key)
	}
	return results, nil
}

func (w *writer) applyChange(b *batch, c change.Change, durable bool) error {
	prev := w.work.entry(c.Key)
	var current object.Object
	if prev != nil {
		current = prev.object()
	}
	next, err := c.Mutate(current)
	if err != nil {
		return err
	}
	if next == current { // also when there was none and there shall be none
		return nil
	}
	if err := w.mayStore(next, current); err != nil {
		return err
	}
	for _, admit := range w.admit {
		admitted, err := admit(view{w.work}, next, current)
		if err != nil {
			return err
		}
		if next != nil {
			next = admitted
		}
	}
	return w.set(b, c.Key, prev, next, durable)
}

// applyAlong applies what goes along with the newest change of b, but for what
// the transaction changes itself.
func (w *writer) applyAlong(b *batch, own []change.Change, durable bool) error {
	if w.along == nil {
		return nil
	}
	for _, c := range w.along(view{w.work}, b.events[len(b.events)-1].public()) {
		if !c.Always && slices.ContainsFunc(own, func(o change.Change) bool { return o.Key == c.Key }) {
			continue
		}
		if err := w.applyChange(b, c, durable); err != nil {
			return err
		}
	}
	return nil
}

// set puts next, nil for a deletion, in the place of prev.
func (w *writer) set(b *batch, key object.Key, prev *entry, next object.Object, durable bool) error {
	codec := w.codecs(key.GroupKind)
	if codec == nil {
		return fmt.Errorf("store: kind %s is not registered", key.GroupKind)
	}
	dirty, wasDirty := w.dirty[key]
	d := dirtyKey{revision: w.work.revision + 1, stored: dirty.stored}
	if !wasDirty {
		d.stored = w.unreadable[key]
		if prev != nil {
			d.stored = prev.revision
		}
	}
	ev := event{revision: d.revision, old: prev}
	switch next {
	case nil:
		ev.kind = object.Deleted
		ev.entry = newEntry(key, withVersion(prev.object(), d.revision), d.revision, prev.indexed)
	default:
		ev.kind = object.Added
		if prev != nil {
			ev.kind = object.Modified
		}
		next = withVersion(next, d.revision)
		d.entry = newEntry(key, next, d.revision, w.indexes(key.GroupKind).values(next))
		ev.entry = d.entry
		if durable {
			data, err := codec.Encode(next)
			if err == nil {
				d.entry.size = int64(len(data))
				d.data, err = w.cipher.Encrypt(key, data)
			}
			if err != nil {
				return fmt.Errorf("store %s: %w", key, err)
			}
		} else {
			d.entry.size = record.Size(next) // it is encoded later
		}
	}
	b.undo = append(b.undo, undo{key, prev, dirty, wasDirty})
	b.events = append(b.events, ev)
	w.work.revision = d.revision
	w.dirty[key] = d
	w.place(key, d.entry)
	return nil
}

// mayStore refuses new objects while the disk is full.
func (w *writer) mayStore(next, current object.Object) error {
	if current == nil && next != nil && w.reserve.Refuses(w.file.Used) {
		return reserve.NoSpace(w.store.path, nil)
	}
	return nil
}

// place makes e the working state of key; nil removes it.
func (w *writer) place(key object.Key, e *entry) {
	c := w.work.kinds[key.GroupKind]
	if c == nil {
		c = newCollection(len(w.indexes(key.GroupKind)))
		w.work.kinds[key.GroupKind] = c
	}
	if e == nil {
		c.remove(key)
		return
	}
	c.put(e)
}

// takeBack undoes what b did after its first keep changes.
func (w *writer) takeBack(b *batch, keep int) {
	for i := len(b.undo) - 1; i >= keep; i-- {
		u := b.undo[i]
		w.place(u.key, u.entry)
		if u.wasDirty {
			w.dirty[u.key] = u.dirty
		} else {
			delete(w.dirty, u.key)
		}
	}
	b.undo = b.undo[:keep]
}
