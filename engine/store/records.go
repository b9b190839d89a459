package store

import (
	"bytes"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Records reads up to limit entries of an append-only log from index from
// (0-based) on, oldest first; negative from counts from the end. Entries that
// were removed are passed over. A log that was never written to is empty.
func (s *Store) Records(log string, from int64, limit int) ([][]byte, error) {
	var out [][]byte
	err := s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(logsBucket).Bucket([]byte(log))
		if b == nil {
			return nil
		}
		if from < 0 {
			from = max(0, int64(b.Sequence())+from)
		}
		c := b.Cursor()
		for k, v := c.Seek(revisionKey(uint64(from) + 1)); k != nil && len(out) < limit; k, v = c.Next() {
			out = append(out, bytes.Clone(v))
		}
		return nil
	})
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("read log %q: %w", log, err)
	}
	return out, nil
}
