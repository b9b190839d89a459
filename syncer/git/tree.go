package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git/odb"
	"headway.dev/syncer/git/remote"
)

// Bounds of what a tree may be, whatever was committed.
const (
	// maxBlob bounds one file that is read into memory, in bytes. Manifests
	// are bounded much lower by their loader.
	maxBlob = 32 << 20
	// maxListed bounds the names that one Tree lists, as a few objects that
	// are used over and over make a tree of any size.
	maxListed = 500_000
	// maxNesting bounds directories within directories.
	maxNesting = 100
	// maxCached bounds the names of the directories that are kept decoded.
	maxCached = 200_000
)

// Tree is the tree of a commit as a read-only file system. It reads blobs from
// the object database when they are opened. Symbolic links are listed but
// cannot be opened; submodules are omitted.
type Tree struct {
	repo   *Repository
	root   plumbing.Hash
	ignore *ignorer
	listed atomic.Int64

	mu     sync.Mutex
	hollow map[string]bool // of directories that are left out, see leavesOut
}

// directories keeps those that were read last: from one commit to the next
// most are the same.
type directories struct {
	mu    sync.Mutex
	dirs  map[plumbing.Hash]directory
	names int
}

func (d *directories) get(hash plumbing.Hash) (directory, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, ok := d.dirs[hash]
	return dir, ok
}

func (d *directories) put(hash plumbing.Hash, dir directory) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names += len(dir.entries) + 1; d.dirs == nil || d.names > maxCached {
		d.dirs, d.names = map[plumbing.Hash]directory{}, len(dir.entries)+1
	}
	d.dirs[hash] = dir
}

// directory is one tree object, also by name: looking up each of a thousand
// files must not scan the other 999.
type directory struct {
	entries []object.TreeEntry
	byName  map[string]object.TreeEntry
}

var (
	_ fs.ReadDirFS  = (*Tree)(nil)
	_ fs.ReadFileFS = (*Tree)(nil)
	_ fs.StatFS     = (*Tree)(nil)
)

// Tree opens the tree of a commit, without what a source ignores: ignore is its
// spec.ignore, patterns in the format of .gitignore, one per line.
func (r *Repository) Tree(commit, ignore string) (*Tree, error) {
	c, err := r.Commit(commit)
	if err != nil {
		return nil, err
	}
	t := &Tree{repo: r, root: plumbing.NewHash(c.Tree)}
	return t, t.readIgnore(ignore)
}

// Hash identifies the content of the file or directory name: equal hashes,
// equal contents.
func (t *Tree) Hash(name string) (string, error) {
	e, err := t.lookup("hash", name)
	if err != nil {
		return "", err
	}
	return e.Hash.String(), nil
}

// BlobID is what [Tree.Hash] returns for a file of these contents.
func BlobID(data []byte) string { return plumbing.ComputeHash(plumbing.BlobObject, data).String() }

// Open implements fs.FS.
func (t *Tree) Open(name string) (fs.File, error) {
	e, err := t.lookup("open", name)
	if err != nil {
		return nil, err
	}
	info := t.info(e)
	if e.Mode == filemode.Dir {
		list, err := t.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &openDir{info: info, entries: list}, nil
	}
	if e.Mode == filemode.Symlink {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("symbolic links are not followed")}
	}
	data, err := t.blob(e.Hash)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{info: info, Reader: bytes.NewReader(data)}, nil
}

// ReadFile implements fs.ReadFileFS.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	e, err := t.lookup("read", name)
	if err != nil {
		return nil, err
	}
	if !e.Mode.IsRegular() && e.Mode != filemode.Executable {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	data, err := t.blob(e.Hash)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

// Stat implements fs.StatFS.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	e, err := t.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return t.info(e), nil
}

// ReadDir implements fs.ReadDirFS.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := t.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	if e.Mode != filemode.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	dir, err := t.dir(e.Hash)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	if t.listed.Add(int64(len(dir.entries))) > maxListed {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fmt.Errorf("the tree has more than %d files: point spec.path at a smaller directory", maxListed)}
	}
	list := make([]fs.DirEntry, 0, len(dir.entries))
	for _, child := range dir.entries {
		if child.Mode == filemode.Submodule {
			continue
		}
		if out, err := t.leavesOut(path.Join(name, child.Name), child.Mode, child.Hash); err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
		} else if out {
			continue
		}
		list = append(list, dirEntry{tree: t, entry: child})
	}
	// Git sorts directories as if their names ended in a slash.
	sort.Slice(list, func(i, j int) bool { return list[i].Name() < list[j].Name() })
	return list, nil
}

func (t *Tree) lookup(op, name string) (object.TreeEntry, error) {
	var none object.TreeEntry
	fail := func(err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return none, fail(fs.ErrInvalid)
	}
	cur := object.TreeEntry{Name: ".", Mode: filemode.Dir, Hash: t.root}
	if name == "." {
		return cur, nil
	}
	if strings.Count(name, "/") >= maxNesting {
		return none, fail(fmt.Errorf("directories are nested more than %d deep", maxNesting))
	}
	for part := range strings.SplitSeq(name, "/") {
		if cur.Mode != filemode.Dir {
			return none, fail(fs.ErrNotExist)
		}
		dir, err := t.dir(cur.Hash)
		if err != nil {
			return none, fail(err)
		}
		next, found := dir.byName[part]
		cur = next
		if !found || cur.Mode == filemode.Submodule {
			return none, fail(fs.ErrNotExist)
		}
	}
	if out, err := t.leavesOut(name, cur.Mode, cur.Hash); err != nil {
		return none, fail(err)
	} else if out {
		return none, fail(fs.ErrNotExist)
	}
	return cur, nil
}

func (t *Tree) dir(hash plumbing.Hash) (directory, error) {
	if dir, ok := t.repo.dirs.get(hash); ok {
		return dir, nil
	}
	var tree *object.Tree
	err := t.repo.Read(func(*Storage) (err error) {
		tree, err = object.GetTree(t.repo.store, hash)
		return err
	})
	if err != nil {
		return directory{}, fmt.Errorf("read tree %s: %w", hash, err)
	}
	dir := directory{entries: tree.Entries, byName: make(map[string]object.TreeEntry, len(tree.Entries))}
	for _, e := range tree.Entries {
		if err := checkEntry(e); err != nil {
			return directory{}, fmt.Errorf("read tree %s: %w", hash, err)
		}
		if _, twice := dir.byName[e.Name]; twice {
			return directory{}, fmt.Errorf("read tree %s: %w", hash, &entryError{fmt.Sprintf("%q is in it twice", remote.Printable(e.Name, 100))})
		}
		dir.byName[e.Name] = e
	}
	t.repo.dirs.put(hash, dir)
	return dir, nil
}

// checkEntry refuses what no checkout could have made: a crafted tree may
// hold any name.
func checkEntry(e object.TreeEntry) error {
	if !fs.ValidPath(e.Name) || strings.Contains(e.Name, "/") || e.Name == "." || strings.EqualFold(e.Name, ".git") || strings.ContainsRune(e.Name, 0) {
		return &entryError{fmt.Sprintf("invalid file name %q", remote.Printable(e.Name, 100))}
	}
	return nil
}

// entryError is why a tree object cannot be read, whoever tries.
type entryError struct{ reason string }

func (e *entryError) Error() string { return e.reason }

func (t *Tree) blob(hash plumbing.Hash) ([]byte, error) {
	kind, data, err := t.repo.store.Objects.Read(odb.Hash(hash), maxBlob)
	if err == nil && kind != odb.Blob {
		err = fmt.Errorf("object %s is a %s", hash, kind)
	}
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	return slices.Clone(data), nil // the store shares its own
}

func (t *Tree) info(e object.TreeEntry) fileInfo {
	return fileInfo{tree: t, entry: e}
}

func mode(m filemode.FileMode) fs.FileMode {
	switch m {
	case filemode.Dir:
		return fs.ModeDir | 0o555
	case filemode.Symlink:
		return fs.ModeSymlink | 0o777
	case filemode.Executable:
		return 0o555
	default:
		return 0o444
	}
}

type fileInfo struct {
	tree  *Tree
	entry object.TreeEntry
}

func (i fileInfo) Name() string       { return i.entry.Name }
func (i fileInfo) Mode() fs.FileMode  { return mode(i.entry.Mode) }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.entry.Mode == filemode.Dir }
func (i fileInfo) Sys() any           { return nil }

// Size is looked up when it is asked for, which is seldom: the tree does not
// tell it.
func (i fileInfo) Size() int64 {
	if i.IsDir() {
		return 0
	}
	_, size, err := i.tree.repo.store.Objects.Stat(odb.Hash(i.entry.Hash))
	if err != nil {
		return 0 // opening it will tell
	}
	return size
}

type dirEntry struct {
	tree  *Tree
	entry object.TreeEntry
}

func (d dirEntry) Name() string               { return d.entry.Name }
func (d dirEntry) IsDir() bool                { return d.entry.Mode == filemode.Dir }
func (d dirEntry) Type() fs.FileMode          { return mode(d.entry.Mode).Type() }
func (d dirEntry) Info() (fs.FileInfo, error) { return d.tree.info(d.entry), nil }

type openFile struct {
	info fileInfo
	*bytes.Reader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info    fileInfo
	entries []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.Name(), Err: errors.New("is a directory")}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(d.entries) {
		if n > 0 && len(d.entries) == 0 {
			return nil, io.EOF
		}
		n = len(d.entries)
	}
	list := d.entries[:n]
	d.entries = d.entries[n:]
	return list, nil
}
