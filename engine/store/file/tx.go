package file

import (
	"context"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"headway.dev/engine/store/record"
	"headway.dev/manifests/guard"
)

// Tx is one transaction of the file.
type Tx struct{ tx *bolt.Tx }

// View reads the file as it is at one moment. If a damaged page makes read
// fail, the error wraps ErrDamaged.
func (f *File) View(read func(Tx) error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return Guard(func() error {
		return f.db.View(func(tx *bolt.Tx) error { return read(Tx{tx}) })
	})
}

// Update changes the file. A panic in it is an error like those of the disk,
// and leaves the file as it was.
func (f *File) Update(change func(Tx) error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return guard.Call(context.Background(), "write to the store's file", func() error {
		return f.db.Update(func(tx *bolt.Tx) error { return change(Tx{tx}) })
	})
}

// Objects visits the records of objects in the order of their revisions. Their
// data is readable until the transaction ends.
func (t Tx) Objects(visit func(revision uint64, r record.Record)) error {
	return t.tx.Bucket(objectsBucket).ForEach(func(k, v []byte) error {
		if len(k) != 8 {
			return damaged("record key %x", k)
		}
		revision := binary.BigEndian.Uint64(k)
		r, err := record.Decode(v)
		if err != nil {
			return damaged("record of revision %d: %w", revision, err)
		}
		visit(revision, r)
		return nil
	})
}

// Put adds the record of a revision.
func (t Tx) Put(revision uint64, r record.Record) error {
	if err := t.objects().Put(numberKey(revision), r.Encode()); err != nil {
		return fmt.Errorf("put %s: %w", r.Key, err)
	}
	return nil
}

// Delete removes the records of revisions.
func (t Tx) Delete(revisions []uint64) error {
	b := t.objects()
	for _, revision := range revisions {
		if err := b.Delete(numberKey(revision)); err != nil {
			return fmt.Errorf("delete revision %d: %w", revision, err)
		}
	}
	return nil
}

func (t Tx) objects() *bolt.Bucket {
	b := t.tx.Bucket(objectsBucket)
	b.FillPercent = 1 // keys only grow: split pages are never filled up later
	return b
}

// Ceiling returns what SetCeiling wrote last, 0 if nothing.
func (t Tx) Ceiling() uint64 {
	if v := t.tx.Bucket(metaBucket).Get(ceilingKey); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// SetCeiling records a revision that is at least every one given out.
func (t Tx) SetCeiling(ceiling uint64) error {
	if err := t.tx.Bucket(metaBucket).Put(ceilingKey, numberKey(ceiling)); err != nil {
		return fmt.Errorf("put ceiling: %w", err)
	}
	return nil
}

// numberKey is a number in bytes that are ordered as it is.
func numberKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), n)
}
