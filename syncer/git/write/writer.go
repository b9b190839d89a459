package write

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/signature"
)

// writer adds objects to the database, as files that their owner can still
// manage when this process is root.
type writer struct {
	reader
	repo *git.Repository
}

func (w *writer) object(o interface {
	Encode(plumbing.EncodedObject) error
},
) (plumbing.Hash, error) {
	enc := w.store.NewEncodedObject()
	if err := o.Encode(enc); err != nil {
		return plumbing.ZeroHash, err
	}
	hash, err := w.store.SetEncodedObject(enc)
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("write object: %w", err)
	}
	dir := filepath.Join(w.repo.CommonDir(), "objects", hash.String()[:2])
	file := filepath.Join(dir, hash.String()[2:])
	if w.repo.Local() {
		giveTo(filepath.Dir(dir), dir, file)
	}
	// The branch will name it: that must not be on disk before it is.
	for _, path := range []string{file, dir, filepath.Dir(dir)} {
		if err := syncPath(path); err != nil && !errors.Is(err, os.ErrNotExist) { // it was packed before
			return plumbing.ZeroHash, fmt.Errorf("write object %s: %w", hash, err)
		}
	}
	return hash, nil
}

// syncPath makes a file's content, or a directory's entries, durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// tree writes base with the edits, keyed by path.
func (w *writer) tree(base plumbing.Hash, edits map[string]edit) (plumbing.Hash, error) {
	entries, err := w.entries(base)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	below := map[string]map[string]edit{}
	for name, e := range edits {
		dir, rest, nested := strings.Cut(name, "/")
		switch {
		case nested:
			if below[dir] == nil {
				below[dir] = map[string]edit{}
			}
			below[dir][rest] = e
		case e.Mode == 0:
			// A directory may have taken the file's name.
			if entries[name].Mode != filemode.Dir {
				delete(entries, name)
			}
		default:
			entries[name] = e
		}
	}
	for dir, sub := range below {
		var from plumbing.Hash
		if entries[dir].Mode == filemode.Dir {
			from = entries[dir].Hash
		}
		hash, err := w.tree(from, sub)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		switch {
		case !hash.IsZero():
			entries[dir] = edit{Mode: filemode.Dir, Hash: hash}
		case entries[dir].Mode == filemode.Dir:
			delete(entries, dir) // Git keeps no empty directories
		}
	}
	t := &object.Tree{}
	for name, e := range entries {
		t.Entries = append(t.Entries, object.TreeEntry{Name: name, Mode: e.Mode, Hash: e.Hash})
	}
	sort.Sort(object.TreeEntrySorter(t.Entries))
	if len(t.Entries) == 0 {
		return plumbing.ZeroHash, nil
	}
	return w.object(t)
}

func (w *writer) blob(data []byte) (plumbing.Hash, error) {
	return w.object(rawBlob(data))
}

// rawBlob is a file's content as an object.
type rawBlob []byte

// Encode implements what writer.object takes.
func (b rawBlob) Encode(o plumbing.EncodedObject) error {
	o.SetType(plumbing.BlobObject)
	o.SetSize(int64(len(b)))
	out, err := o.Writer()
	if err != nil {
		return err
	}
	if _, err := out.Write(b); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// commit writes a commit, signed if there is a key.
func (w *writer) commit(c *object.Commit, key *signature.SigningKey) (plumbing.Hash, error) {
	if key == nil {
		return w.object(c)
	}
	enc := &plumbing.MemoryObject{}
	if err := c.EncodeWithoutSignature(enc); err != nil {
		return plumbing.ZeroHash, fmt.Errorf("sign the commit: %w", err)
	}
	r, err := enc.Reader()
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("sign the commit: %w", err)
	}
	payload, err := io.ReadAll(r)
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("sign the commit: %w", err)
	}
	if c.PGPSignature, err = key.Sign(payload); err != nil {
		return plumbing.ZeroHash, err
	}
	return w.object(c)
}

// giveTo gives the files to the owner of like: written by root into a user's
// repository, they would stop that user's next push.
func giveTo(like string, files ...string) {
	if os.Geteuid() != 0 {
		return
	}
	info, err := os.Stat(like)
	if err != nil {
		return
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 {
		return
	}
	for _, f := range files {
		_ = os.Lchown(f, int(st.Uid), int(st.Gid))
	}
}
