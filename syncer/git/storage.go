package git

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"headway.dev/syncer/git/odb"
)

// Bounds on what is read into memory, in bytes. A tree of the greatest size
// has some 400,000 entries with names of average length.
const (
	maxCommit = 4 << 20
	MaxTree   = 16 << 20
	maxObject = 64 << 20
)

// Storage is go-git's storage, with objects read by odb: in bounded memory, and
// without an index in memory.
type Storage struct {
	*filesystem.Storage
	// Objects are the objects by themselves. Reading them needs no lock.
	Objects *odb.Store
}

var (
	_ storer.EncodedObjectStorer = (*Storage)(nil)
	_ storer.ReferenceStorer     = (*Storage)(nil)
)

// newStorage is the storage of a bare repository in dir.
func newStorage(dir string) *Storage {
	opts := filesystem.Options{LargeObjectThreshold: 1 << 20}
	return &Storage{
		Storage: filesystem.NewStorageWithOptions(osfs.New(dir), cache.NewObjectLRU(cache.MiByte), opts),
		Objects: odb.Open(filepath.Join(dir, "objects")),
	}
}

// EncodedObject implements storer.EncodedObjectStorer.
func (s *Storage) EncodedObject(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	limit := int64(maxObject)
	switch t {
	case plumbing.CommitObject, plumbing.TagObject:
		limit = maxCommit
	case plumbing.TreeObject:
		limit = MaxTree
	default:
	}
	kind, data, err := s.Objects.Read(odb.Hash(h), limit)
	if err != nil {
		return nil, notFound(err)
	}
	if t != plumbing.AnyObject && plumbing.ObjectType(kind) != t {
		return nil, plumbing.ErrObjectNotFound
	}
	obj := &plumbing.MemoryObject{}
	obj.SetType(plumbing.ObjectType(kind))
	_, err = obj.Write(data)
	return obj, err
}

// notFound makes an error that go-git understands.
func notFound(err error) error {
	if errors.Is(err, odb.ErrNotFound) && !errors.Is(err, odb.ErrCorrupt) {
		return plumbing.ErrObjectNotFound
	}
	return err
}

// HasEncodedObject implements storer.EncodedObjectStorer.
func (s *Storage) HasEncodedObject(h plumbing.Hash) error {
	_, _, err := s.Objects.Stat(odb.Hash(h))
	return notFound(err)
}

// EncodedObjectSize implements storer.EncodedObjectStorer.
func (s *Storage) EncodedObjectSize(h plumbing.Hash) (int64, error) {
	_, size, err := s.Objects.Stat(odb.Hash(h))
	return size, notFound(err)
}

// HashesWithPrefix is for go-git's lookup of abbreviated names.
func (s *Storage) HashesWithPrefix(prefix []byte) ([]plumbing.Hash, error) {
	const enough = 1000 // to say that a prefix is ambiguous
	list, err := s.Objects.Prefix(fmt.Sprintf("%x", prefix), enough)
	hashes := make([]plumbing.Hash, len(list))
	for i, h := range list {
		hashes[i] = plumbing.Hash(h)
	}
	return hashes, err
}

// reindex looks again which packs there are.
func (s *Storage) reindex() {
	s.Reindex()
	_ = s.Objects.Refresh() // the read that follows tells what is wrong
}

// Close releases the files.
func (s *Storage) Close() error {
	s.Objects.Close()
	if err := s.Storage.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close repository: %w", err)
	}
	return nil
}
