package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// formatVersion is that of the files we write. Raise it when an older binary
// would misread what a newer one wrote.
const formatVersion = 1

var (
	objectsBucket = []byte("objects")
	logsBucket    = []byte("logs")
	metaBucket    = []byte("meta")

	formatKey  = []byte("format")
	ceilingKey = []byte("ceiling")
)

func fileOptions(lockTimeout time.Duration) *bolt.Options {
	return &bolt.Options{
		Timeout: lockTimeout,
		// The free list is found again while opening, which reads the whole
		// file anyhow, instead of being written with every commit.
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		// Address space, not memory: growing the map would have to wait for
		// the readers.
		InitialMmapSize: 1 << 30,
	}
}

func openFile(path string, lockTimeout time.Duration) (*bolt.DB, error) {
	options := fileOptions(lockTimeout)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = create(path, options)
	} else if err == nil && info.Mode().IsRegular() && info.Size() < int64(2*os.Getpagesize()) {
		// Never one of ours: create makes it whole or not at all. An empty one
		// would be an empty cluster, and all pods would be removed.
		err = damaged("it is %d bytes long", info.Size())
	}
	if err != nil {
		return nil, err
	}
	// Read-only first: opened for writing, bbolt looks for free pages in a
	// goroutine of its own, and on a file that is truncated or has a page
	// overwritten the process would die there.
	readOnly := *options
	readOnly.ReadOnly = true
	if err := inspect(path, &readOnly); err != nil {
		return nil, err
	}
	return openBolt(path, options)
}

// Create makes the file of a store that holds nothing; one that is there is left
// as it is.
func Create(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("create store: %w", err)
	}
	if err := create(path, fileOptions(time.Second)); err != nil {
		return fmt.Errorf("create store %s: %w", path, err)
	}
	return nil
}

// create makes a file with its buckets under another name first, so that there
// is never a part of one. One that another process makes meanwhile is kept.
func create(path string, options *bolt.Options) error {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, filepath.Base(path)+".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone or harmless
	if err := temp.Close(); err != nil {
		return err
	}
	db, err := openBolt(temp.Name(), options)
	if err != nil {
		return err
	}
	if err := errors.Join(layOut(db), db.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func openBolt(path string, options *bolt.Options) (db *bolt.DB, err error) {
	err = guardFaults(func() error {
		db, err = bolt.Open(path, 0o600, options)
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, ErrInUse
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, damaged("%w", err)
	}
	return db, err
}

// inspect checks the size and the format version of an existing file, and reads
// every page of it that is in use.
func inspect(path string, options *bolt.Options) error {
	db, err := openBolt(path, options)
	if err != nil {
		return err
	}
	err = guardFaults(func() error {
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

// layOut makes the buckets of a new file.
func layOut(db *bolt.DB) error {
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{objectsBucket, logsBucket, metaBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return fmt.Errorf("lay out: %w", err)
			}
		}
		return tx.Bucket(metaBucket).Put(formatKey, []byte(strconv.Itoa(formatVersion)))
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

func readCeiling(tx *bolt.Tx) uint64 {
	if v := tx.Bucket(metaBucket).Get(ceilingKey); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// guardFaults runs f and turns what bbolt does with a truncated or corrupt
// file, a panic or an access beyond the end of the mapped file, into an error.
func guardFaults(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = damaged("%v", r)
		}
	}()
	return f()
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w; restore it from a backup (with Headway stopped, put the copy in its place), or use another data directory", ErrDamaged, fmt.Errorf(format, args...))
}
