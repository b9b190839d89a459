package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// formatVersion is that of the files we write. Raise it when an older binary
// would misread what a newer one wrote. 2: data may be encrypted.
const formatVersion = 2

// Errors of Open, to be tested with errors.Is.
var (
	// ErrInUse reports a file that another process has open.
	ErrInUse = errors.New("in use by another process")
	// ErrNewer reports a file that a newer version wrote.
	ErrNewer = errors.New("written by a newer version of Headway")
	// ErrDamaged reports a file that is truncated or corrupt.
	ErrDamaged = errors.New("the file is damaged")
)

var (
	objectsBucket = []byte("objects")
	logsBucket    = []byte("logs")
	metaBucket    = []byte("meta")

	formatKey  = []byte("format")
	ceilingKey = []byte("ceiling")
	scrubKey   = []byte("scrub")
)

// File is the open file of a store. Any number of goroutines may read it while
// one writes.
type File struct {
	path string
	// mu guards db, which Rewrite replaces: it is held for reading while db is
	// in use.
	mu sync.RWMutex
	db *bolt.DB
}

func boltOptions(lockTimeout time.Duration) *bolt.Options {
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

// Open opens the file at path, or creates it, after reading every page of it.
// It waits up to lockTimeout for another process to close it.
func Open(path string, lockTimeout time.Duration) (*File, error) {
	options := boltOptions(lockTimeout)
	// The file itself is replaced by what is made beside it, not a link to it.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
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
	db, err := openBolt(path, options)
	if err != nil {
		return nil, err
	}
	// What a crash left: the lock on the file says that nobody is about to use it.
	if err := errors.Join(removeIfThere(path+NextSuffix), raiseFormat(db)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &File{path: path, db: db}, nil
}

// Close closes the file.
func (f *File) Close() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.db.Close()
}

// Used returns the length of the used part of the file, 0 if it is closed.
func (f *File) Used() (size int64) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	_ = f.db.View(func(tx *bolt.Tx) error { size = tx.Size(); return nil }) // fails where it is closed
	return size
}

// Create creates the file of an empty store; an existing one is left as it is.
func Create(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("create store: %w", err)
	}
	if err := create(path, boltOptions(time.Second)); err != nil {
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
	return syncDir(dir)
}

func openBolt(path string, options *bolt.Options) (db *bolt.DB, err error) {
	err = Guard(func() error {
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

// layOut makes the buckets of a new file.
func layOut(db *bolt.DB) error {
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{objectsBucket, logsBucket, metaBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return fmt.Errorf("lay out: %w", err)
			}
		}
		return putFormat(tx)
	})
}

func putFormat(tx *bolt.Tx) error {
	return tx.Bucket(metaBucket).Put(formatKey, []byte(strconv.Itoa(formatVersion)))
}

// raiseFormat gives a file of an older format our version, and marks it to be
// rewritten: it may have Secrets in clear.
func raiseFormat(db *bolt.DB) error {
	var found string
	err := db.View(func(tx *bolt.Tx) error { found = string(tx.Bucket(metaBucket).Get(formatKey)); return nil })
	if err != nil || found == strconv.Itoa(formatVersion) {
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		// What was deleted is still in the file, as it was written then.
		if err := tx.Bucket(metaBucket).Put(scrubKey, []byte("1")); err != nil {
			return err
		}
		return putFormat(tx)
	})
}
