package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
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

func openFile(path string, lockTimeout time.Duration) (*bolt.DB, error) {
	options := bolt.Options{
		Timeout: lockTimeout,
		// The free list is found again while opening, which reads the whole
		// file anyhow, instead of being written with every commit.
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		// Address space, not memory: growing the map would have to wait for
		// the readers.
		InitialMmapSize: 1 << 30,
	}
	info, err := os.Stat(path)
	exists := err == nil && info.Mode().IsRegular() && info.Size() > 0
	if exists {
		// Read-only first, which touches little of the file: opened for
		// writing, bbolt looks for free pages in a goroutine of its own, and
		// on a truncated file the process would die there.
		readOnly := options
		readOnly.ReadOnly = true
		if err := inspect(path, &readOnly); err != nil {
			return nil, err
		}
	}
	db, err := openBolt(path, &options)
	if err != nil {
		return nil, err
	}
	if err := layOut(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
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

// inspect checks the size and the format version of an existing file.
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
				if name, _ := tx.Cursor().First(); name != nil {
					return damaged("it has no %s bucket", metaBucket)
				}
				return nil // killed before it was laid out
			}
			return checkFormat(string(meta.Get(formatKey)))
		})
	})
	return errors.Join(err, db.Close())
}

// layOut makes the buckets of a new file.
func layOut(db *bolt.DB) error {
	complete := false
	err := db.View(func(tx *bolt.Tx) error {
		complete = tx.Bucket(metaBucket) != nil
		return nil
	})
	if err != nil || complete {
		return err
	}
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
	return fmt.Errorf("%w: %w; restore it from a backup, or use another data directory", ErrDamaged, fmt.Errorf(format, args...))
}
