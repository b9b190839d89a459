package file

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

// inspect checks the size and the format version of an existing file, and reads
// every page of it that is in use.
func inspect(path string, options *bolt.Options) error {
	db, err := openBolt(path, options)
	if err != nil {
		return err
	}
	err = Guard(func() error {
		return db.View(func(tx *bolt.Tx) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if info.Size() < tx.Size() {
				return damaged("it is %d bytes long and should be at least %d", info.Size(), tx.Size())
			}
			meta := tx.Bucket(metaBucket)
			if meta == nil {
				return damaged("it has no %s bucket", metaBucket)
			}
			if err := checkFormat(string(meta.Get(formatKey))); err != nil {
				return err
			}
			for _, name := range [][]byte{objectsBucket, logsBucket} {
				if tx.Bucket(name) == nil {
					return damaged("it has no %s bucket", name)
				}
			}
			return tx.ForEach(func(_ []byte, b *bolt.Bucket) error { return walk(b) })
		})
	})
	return errors.Join(err, db.Close())
}

// walk reads all of a bucket. Its keys must ascend, also from page to page.
func walk(b *bolt.Bucket) error {
	var last []byte
	return b.ForEach(func(k, v []byte) error {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return damaged("key %x stands after %x", k, last)
		}
		last = k
		if v != nil {
			return nil
		}
		if nested := b.Bucket(k); nested != nil {
			return walk(nested)
		}
		return damaged("key %x is neither a value nor a bucket", k)
	})
}

func checkFormat(found string) error {
	version, err := strconv.Atoi(found)
	switch {
	case err != nil:
		return damaged("its format version is %q", found)
	case version > formatVersion:
		return fmt.Errorf("%w (file format %d, this version reads %d): run that version, or use another data directory", ErrNewer, version, formatVersion)
	}
	return nil
}

// Guard runs f and turns what bbolt does with a truncated or corrupt file, a
// panic or an access beyond the end of the mapped file, into an error.
func Guard(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = damaged("%v", r)
		}
	}()
	return f()
}

// damaged is an error that wraps ErrDamaged, with what to do.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w; restore it from a backup (with Headway stopped, put the copy in its place), or use another data directory", ErrDamaged, fmt.Errorf(format, args...))
}
