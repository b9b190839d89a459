package file

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"headway.dev/manifests/model/change"
)

// Log reads up to limit entries of an append-only log from index from (0-based)
// on, oldest first; negative from counts from the end. Removed entries are
// skipped. A log that was never written to is empty. For a closed file it
// returns fs.ErrClosed.
func (f *File) Log(name string, from int64, limit int) ([][]byte, error) {
	var out [][]byte
	f.mu.RLock()
	defer f.mu.RUnlock()
	err := f.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(logsBucket).Bucket([]byte(name))
		if b == nil {
			return nil
		}
		if from < 0 {
			from = max(0, int64(b.Sequence())+from)
		}
		c := b.Cursor()
		for k, v := c.Seek(numberKey(uint64(from) + 1)); k != nil && len(out) < limit; k, v = c.Next() {
			out = append(out, bytes.Clone(v))
		}
		return nil
	})
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return nil, fs.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("read log %q: %w", name, err)
	}
	return out, nil
}

// Append adds to the logs.
func (t Tx) Append(records []change.Record) error {
	for _, r := range records {
		b, err := t.tx.Bucket(logsBucket).CreateBucketIfNotExists([]byte(r.Log))
		if err != nil {
			return fmt.Errorf("append to log %q: %w", r.Log, err)
		}
		b.FillPercent = 1
		seq, err := b.NextSequence()
		if err == nil {
			err = b.Put(numberKey(seq), r.Data)
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
	last := numberKey(upTo)
	c := b.Cursor()
	for k, _ := c.First(); k != nil && bytes.Compare(k, last) <= 0; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}
