package git

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// writer adds objects to the database, as files that their owner can still
// manage when this process is root.
type writer struct{ r *Repository }

func (w *writer) object(o interface {
	Encode(plumbing.EncodedObject) error
},
) (plumbing.Hash, error) {
	enc := w.r.store.NewEncodedObject()
	if err := o.Encode(enc); err != nil {
		return plumbing.ZeroHash, err
	}
	hash, err := w.r.store.SetEncodedObject(enc)
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("write object: %w", err)
	}
	dir := filepath.Join(commonDir(w.r.gitDir), "objects", hash.String()[:2])
	file := filepath.Join(dir, hash.String()[2:])
	if w.r.Local() {
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
	entries, err := w.r.entries(base)
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

// moveLocal moves a branch from old to new the way Git does, by its lock
// file, so that it excludes a push at the same moment.
func (r *Repository) moveLocal(branch, old, new string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := plumbing.NewBranchReferenceName(branch)
	file := filepath.Join(commonDir(r.gitDir), filepath.FromSlash(name.String()))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // as Git creates it
		return fmt.Errorf("move branch %s: %w", branch, err)
	}
	lock := file + ".lock"
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // as Git creates it
	if errors.Is(err, os.ErrExist) {
		return ErrMoved
	}
	if err != nil {
		return fmt.Errorf("lock branch %s: %w", branch, err)
	}
	defer os.Remove(lock)
	_, err = f.Write(append([]byte(new), '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("move branch %s: %w", branch, err)
	}
	if now, err := r.currentLocal(name, file); err != nil || now != old {
		return errors.Join(ErrMoved, err)
	}
	giveTo(filepath.Join(commonDir(r.gitDir), "refs"), filepath.Dir(file), lock)
	if err := errors.Join(os.Rename(lock, file), syncPath(filepath.Dir(file))); err != nil {
		return fmt.Errorf("move branch %s: %w", branch, err)
	}
	return nil
}

func (r *Repository) currentLocal(name plumbing.ReferenceName, file string) (string, error) {
	if data, err := os.ReadFile(file); err == nil {
		return string(bytes.TrimSpace(data)), nil
	}
	ref, err := r.store.Reference(name) // packed
	if err != nil {
		return "", err
	}
	return ref.Hash().String(), nil
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
