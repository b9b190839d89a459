package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
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
	err := w.update(func(tx *bolt.Tx) error {
		if ceiling != w.ceiling {
			if err := putCeiling(tx, ceiling); err != nil {
				return err
			}
		}
		if err := putObjects(tx, writes); err != nil {
			return err
		}
		return appendRecords(tx, w.pending)
	})
	if err != nil {
		w.store.failure.Store(&err)
		return err
	}
	w.store.failure.Store(nil)
	if took := time.Since(began); took > slowFlush {
		w.log.Warn("the store's file was slow to write: its disk is slow or busy, and all writes wait for it", "took", took, "objects", len(writes))
	}
	w.reserve.keep(w.used())
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
		data, err = w.codecs(e.key.GroupKind).Encode(e.object)
		return err
	})
	return data, err
}

// update changes the file. A panic in it is an error like those of the disk,
// and leaves the file as it was.
func (w *writer) update(change func(*bolt.Tx) error) error {
	return guard.Call(context.Background(), "write to the store's file", func() error { return w.db.Update(change) })
}

func putObjects(tx *bolt.Tx, writes []write) error {
	b := tx.Bucket(objectsBucket)
	b.FillPercent = 1 // keys only grow: split pages are never filled up later
	for _, d := range writes {
		r := record{op: recordPut, key: d.key, data: d.data}
		if d.entry == nil {
			if d.stored == 0 {
				continue // made and deleted between two flushes
			}
			r.op = recordDelete
		}
		if err := b.Put(revisionKey(d.revision), r.encode()); err != nil {
			return fmt.Errorf("put %s: %w", d.key, err)
		}
	}
	return nil
}

func putCeiling(tx *bolt.Tx, ceiling uint64) error {
	if err := tx.Bucket(metaBucket).Put(ceilingKey, binary.BigEndian.AppendUint64(nil, ceiling)); err != nil {
		return fmt.Errorf("put ceiling: %w", err)
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
		for _, t := range w.work.kinds {
			live += t.Len()
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
	err := w.update(func(tx *bolt.Tx) error {
		b := tx.Bucket(objectsBucket)
		b.FillPercent = 1
		for _, revision := range chunk {
			if err := b.Delete(revisionKey(revision)); err != nil {
				return fmt.Errorf("delete revision %d: %w", revision, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.garbage = slices.Clone(w.garbage[n:])
	return nil
}

// finish writes what is left, sets the ceiling to the last revision, and
// closes the file.
func (w *writer) finish() error {
	w.timer.Stop()
	err := w.flush()
	if err == nil && w.ceiling > w.work.revision {
		err = w.update(func(tx *bolt.Tx) error { return putCeiling(tx, w.work.revision) })
	}
	if err != nil {
		err = fmt.Errorf("write to the store's file: %w", err)
	}
	if closeErr := errors.Join(w.reserve.close(), w.db.Close()); err == nil && closeErr != nil {
		err = fmt.Errorf("close the store's file: %w", closeErr)
	}
	return err
}

// appendRecords adds to the logs: a bucket each, keyed by index+1.
func appendRecords(tx *bolt.Tx, records []change.Record) error {
	for _, r := range records {
		b, err := tx.Bucket(logsBucket).CreateBucketIfNotExists([]byte(r.Log))
		if err != nil {
			return fmt.Errorf("append to log %q: %w", r.Log, err)
		}
		b.FillPercent = 1
		seq, err := b.NextSequence()
		if err == nil {
			err = b.Put(revisionKey(seq), r.Data)
		}
		if err == nil && r.Keep > 0 && seq > uint64(r.Keep) {
			err = trimLog(b, seq-uint64(r.Keep))
		}
		if err != nil {
			return fmt.Errorf("append to log %q: %w", r.Log, err)
		}
	}
	return nil
}

// trimLog removes the entries of a log up to a key's number.
func trimLog(b *bolt.Bucket, upTo uint64) error {
	last := revisionKey(upTo)
	c := b.Cursor()
	for k, _ := c.First(); k != nil && bytes.Compare(k, last) <= 0; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}
