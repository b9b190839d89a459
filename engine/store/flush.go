package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"headway.dev/engine/store/file"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

// revisionBlock is how far ahead the ceiling is set, so that Behind writes
// need the disk for it only once per so many.
const revisionBlock = 1 << 16

// slowFlush is what a write of the file takes that somebody should hear of.
const slowFlush = time.Second

// The background compaction starts at minGarbage records of garbage that are
// also half as many as the live ones, and deletes compactChunk at a time.
const (
	minGarbage   = 1024
	compactChunk = 1024
)

type write struct {
	key object.Key
	dirtyKey
}

// flush writes all dirty keys and pending records in one transaction of the
// file. If it fails, nothing has changed.
func (w *writer) flush() error {
	began := time.Now()
	writes := w.writes()
	ceiling := w.ceiling
	if w.work.revision > ceiling {
		ceiling = w.work.revision + revisionBlock
	}
	err := w.file.Update(func(tx file.Tx) error {
		if ceiling != w.ceiling {
			if err := tx.SetCeiling(ceiling); err != nil {
				return err
			}
		}
		if err := putObjects(tx, writes); err != nil {
			return err
		}
		return tx.Append(w.pending)
	})
	if err != nil {
		w.store.failure.Store(&err)
		return err
	}
	w.store.failure.Store(nil)
	if took := time.Since(began); took > slowFlush {
		w.log.Warn("the store's file was slow to write: its disk is slow or busy, and all writes wait for it", "took", took, "objects", len(writes))
	}
	w.reserve.Keep(w.file.Used())
	w.ceiling = ceiling
	w.written(writes)
	return nil
}

// writes are the dirty keys in the order of their revisions, encoded.
func (w *writer) writes() []write {
	writes := make([]write, 0, len(w.dirty))
	for key, d := range w.dirty {
		if d.broken {
			continue
		}
		if d.entry != nil && d.data == nil {
			data, err := w.encode(d.entry)
			if err != nil {
				// It stays dirty, so that the file's older record is known
				// when the next change to the key is written.
				w.log.Error("object cannot be stored; after a restart it will be in an older state", "key", key, "err", err)
				d.broken = true
				w.dirty[key] = d
				continue
			}
			d.data = data
			w.dirty[key] = d
		}
		writes = append(writes, write{key, d})
	}
	slices.SortFunc(writes, func(a, b write) int { return cmp.Compare(a.revision, b.revision) })
	return writes
}

func (w *writer) encode(e *entry) (data []byte, err error) {
	err = guard.Call(context.Background(), "encode "+e.key.String(), func() error {
		if data, err = w.codecs(e.key.GroupKind).Encode(e.object()); err == nil {
			data, err = w.cipher.Encrypt(e.key, data)
		}
		return err
	})
	return data, err
}

func putObjects(tx file.Tx, writes []write) error {
	for _, d := range writes {
		r := record.Record{Op: record.Put, Key: d.key, Data: d.data}
		if d.entry == nil {
			if d.stored == 0 {
				continue // made and deleted between two flushes
			}
			r.Op = record.Delete
		}
		if err := tx.Put(d.revision, r); err != nil {
			return err
		}
	}
	return nil
}

// written notes what a flush has put into the file.
func (w *writer) written(writes []write) {
	for _, d := range writes {
		delete(w.dirty, d.key)
		if d.stored == 0 {
			continue
		}
		w.garbage = append(w.garbage, d.stored)
		if d.entry == nil {
			w.garbage = append(w.garbage, d.revision)
		}
	}
}

func (w *writer) unwritten() bool {
	for _, d := range w.dirty {
		if !d.broken {
			return true
		}
	}
	return false
}

// wantsTick reports whether the timer has to be running.
func (w *writer) wantsTick() bool {
	if w.armed {
		return false
	}
	if !w.compacting && len(w.garbage) >= minGarbage {
		live := 0
		for _, c := range w.work.kinds {
			live += c.len()
		}
		w.compacting = len(w.garbage) >= live/2
	}
	return w.compacting || w.unwritten()
}

func (w *writer) arm(d time.Duration) {
	w.timer.Reset(d)
	w.armed = true
}

// tick does what is not urgent: it writes Behind changes, and compacts.
func (w *writer) tick() {
	if w.unwritten() {
		if err := w.flush(); err != nil {
			w.log.Error("cannot write to the store's file; trying again", "err", err)
			w.arm(retryDelay)
			return
		}
	}
	if !w.compacting {
		return
	}
	if err := w.compact(); err != nil {
		w.log.Error("cannot compact the store's file; trying again", "err", err)
		w.arm(retryDelay)
		return
	}
	w.compacting = len(w.garbage) > 0
}

// compact deletes a part of the garbage. It takes it in order: were a
// deletion's record gone before what it deleted, the object would be back
// after a restart.
func (w *writer) compact() error {
	n := min(len(w.garbage), max(compactChunk, len(w.garbage)/8))
	chunk := slices.Clone(w.garbage[:n])
	slices.Sort(chunk)
	if err := w.file.Update(func(tx file.Tx) error { return tx.Delete(chunk) }); err != nil {
		return err
	}
	w.garbage = slices.Clone(w.garbage[n:])
	return nil
}

// makeRoom frees what is garbage in the file at once, for what is written next.
// It reports whether there was any.
func (w *writer) makeRoom() bool {
	if len(w.garbage) == 0 {
		return false
	}
	if err := w.compact(); err != nil {
		w.log.Error("cannot compact the store's file, which is full", "err", err)
		return false
	}
	return true
}

// finish writes what is left, sets the ceiling to the last revision, and
// closes the file.
func (w *writer) finish() error {
	w.timer.Stop()
	err := w.flush()
	if err == nil && w.ceiling > w.work.revision {
		err = w.file.Update(func(tx file.Tx) error { return tx.SetCeiling(w.work.revision) })
	}
	if err != nil {
		err = fmt.Errorf("write to the store's file: %w", err)
	}
	if closeErr := errors.Join(w.reserve.Close(), w.file.Close()); err == nil && closeErr != nil {
		err = fmt.Errorf("close the store's file: %w", closeErr)
	}
	return err
}

// reencryptChunk is how many records are looked at while all other writes wait.
const reencryptChunk = 512

// Stale reports whether Open found objects that the cipher would have written
// otherwise, not encrypted or with an old key, or what was left of some. After
// Reencrypt there are none.
func (s *Store) Stale() bool { return s.stale.Load() > 0 }

// Reencrypt writes all again that the cipher would write otherwise now, under the
// same revisions, and then the file, so that it has no bytes of it from before.
// Objects do not change by that, and nobody sees an event. progress, if not nil,
// hears how many of the records were looked at. An error leaves a file that is
// as good as before. Other writes wait for each chunk, and for the file at the
// end, which is as long as its disk takes to copy it.
func (s *Store) Reencrypt(ctx context.Context, progress func(done, total int)) error {
	var until uint64
	var part file.Part
	var done, total int
	err := inWriter(ctx, s, func(w *writer) error {
		until = w.work.revision
		if err := w.clear(); err != nil {
			return err
		}
		return w.file.Update(func(tx file.Tx) error { total = tx.Records(); return tx.SetScrub() })
	})
	for more := true; err == nil && more; more = part.Next != 0 && part.Next <= until {
		err = inWriter(ctx, s, func(w *writer) error {
			return w.file.Update(func(tx file.Tx) (err error) {
				part, err = tx.Reencrypt(part.Next, reencryptChunk, w.cipher)
				return err
			})
		})
		done += part.Looked
		for _, key := range part.Dropped {
			s.log.Error("stored object deleted: it was changed or moved in the store's file, and no key reads it", "key", key)
		}
		if progress != nil && err == nil {
			progress(min(done, total), total)
		}
	}
	if err == nil {
		err = inWriter(ctx, s, (*writer).rewrite)
	}
	if err != nil {
		return fmt.Errorf("encrypt the store anew: %w", err)
	}
	s.stale.Store(0)
	return nil
}

// inWriter has the writer do something between its batches.
func inWriter(ctx context.Context, s *Store, task func(*writer) error) error {
	_, err := s.do(&request{ctx: ctx, task: task, done: make(chan outcome, 1)})
	return err
}

// clear writes what is dirty, and deletes all garbage.
func (w *writer) clear() error {
	for key, d := range w.dirty {
		d.data = nil // it may be of an old key
		w.dirty[key] = d
	}
	if err := w.flush(); err != nil {
		return err
	}
	for len(w.garbage) > 0 {
		if err := w.compact(); err != nil {
			return err
		}
	}
	return nil
}

// rewrite gives the store a new file with what it uses.
func (w *writer) rewrite() error {
	if err := w.clear(); err != nil {
		return err
	}
	if err := w.file.Rewrite(); err != nil {
		w.store.failure.Store(&err)
		return err
	}
	if err := w.reserve.Reopen(w.store.path); err != nil {
		w.log.Error("cannot keep a reserve on the disk for the store's new file", "err", err)
	}
	w.reserve.Keep(w.file.Used())
	return nil
}
