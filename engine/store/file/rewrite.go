package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/object"
)

// NextSuffix ends the name of a file that is about to take the place of the
// store's. One that a crash leaves has no use.
const NextSuffix = ".next"

// compactBytes is how much Rewrite copies in one transaction.
const compactBytes = 16 << 20

// Rewrite copies what is in use into a new file, which takes the place of the old
// one. The pages of deleted records, which bbolt keeps with their contents, are
// not in it. At any moment the name leads to a whole file. Whoever calls it is
// the one who writes.
func (f *File) Rewrite() error {
	next := f.path + NextSuffix
	db, err := f.copyTo(next)
	if err != nil {
		return errors.Join(fmt.Errorf("rewrite the file: %w", err), removeIfThere(next))
	}
	if err := os.Rename(next, f.path); err != nil {
		return errors.Join(fmt.Errorf("rewrite the file: %w", err), db.Close(), removeIfThere(next))
	}
	f.mu.Lock()
	old := f.db
	f.db = db
	f.mu.Unlock()
	err = syncDir(filepath.Dir(f.path))
	if err != nil {
		// After a power cut the old file could be back, without what would be
		// written from now on: nothing more is.
		err = errors.Join(fmt.Errorf("rewrite the file: %w; restart Headway", err), db.Close())
	}
	return errors.Join(err, old.Close())
}

// copyTo copies all that is in use into a new file, and leaves that open.
func (f *File) copyTo(path string) (*bolt.DB, error) {
	if err := removeIfThere(path); err != nil {
		return nil, err
	}
	db, err := openBolt(path, boltOptions(time.Second))
	if err != nil {
		return nil, err
	}
	db.NoSync = true // once, at the end
	err = Guard(func() error { return bolt.Compact(db, f.db, compactBytes) })
	if err == nil {
		err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Delete(scrubKey) })
	}
	if err == nil {
		db.NoSync = false
		err = db.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// SetScrub marks the file as one that Rewrite has to follow: it may still have the
// bytes of what was encrypted since, or encrypted with a retired key.
func (t Tx) SetScrub() error {
	if err := t.tx.Bucket(metaBucket).Put(scrubKey, []byte("1")); err != nil {
		return fmt.Errorf("mark the file: %w", err)
	}
	return nil
}

// Scrub reports whether SetScrub has marked the file.
func (t Tx) Scrub() bool { return t.tx.Bucket(metaBucket).Get(scrubKey) != nil }

// Part is what Reencrypt did with a part of the records.
type Part struct {
	// Next is the revision to go on from, 0 at the end.
	Next uint64
	// Looked is how many records it looked at.
	Looked int
	// Dropped are those that it deleted, because they were changed or moved: no
	// key reads them.
	Dropped []object.Key
}

// Reencrypt writes those of the next limit records from a revision on again, in
// their places, which cipher would write otherwise now.
func (t Tx) Reencrypt(from uint64, limit int, cipher record.Cipher) (p Part, err error) {
	type rewritten struct {
		revision uint64
		record   record.Record
	}
	var stale []rewritten
	var unreadable []uint64
	c := t.tx.Bucket(objectsBucket).Cursor()
	k, v := c.Seek(numberKey(from))
	for ; k != nil && p.Looked < limit; k, v = c.Next() {
		p.Looked++
		r, err := record.Decode(v)
		if err != nil {
			return p, damaged("record %x: %w", k, err)
		}
		if r.Op != record.Put {
			continue
		}
		plain, old, err := cipher.Decrypt(r.Key, r.Data)
		if err != nil && !errors.Is(err, record.ErrKey) {
			unreadable, p.Dropped = append(unreadable, binary.BigEndian.Uint64(k)), append(p.Dropped, r.Key)
			continue
		}
		if err == nil && old {
			r.Data, err = cipher.Encrypt(r.Key, plain)
			stale = append(stale, rewritten{binary.BigEndian.Uint64(k), r})
		}
		if err != nil {
			return p, fmt.Errorf("encrypt %s: %w", r.Key, err)
		}
	}
	if k != nil {
		p.Next = binary.BigEndian.Uint64(k)
	}
	for _, s := range stale {
		if err := t.Put(s.revision, s.record); err != nil {
			return p, err
		}
	}
	return p, t.Delete(unreadable)
}

// Records returns how many records there are.
func (t Tx) Records() int { return t.tx.Bucket(objectsBucket).Stats().KeyN }
