package git

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git/odb"
)

// A source leaves files out of what it yields, by the rules of Flux's
// source-controller: .sourceignore in any directory, for what is below it, and
// spec.ignore, which counts more. Where there is neither it is defaultIgnore.
// Of these patterns the last that matches a file decides, also for a file in a
// directory that another leaves out.

// SourceIgnore is the name of the files that list what a source ignores.
const SourceIgnore = ".sourceignore"

const (
	// vcsIgnore are files that are never part of a source.
	vcsIgnore = `.git/
.gitignore
.gitmodules
.gitattributes
`
	// defaultIgnore are those besides that are not without a reason.
	defaultIgnore = `*.jpg
*.jpeg
*.gif
*.png
*.wmv
*.flv
*.tar.gz
*.zip
.github/
.circleci/
.travis.yml
.gitlab-ci.yml
appveyor.yml
.drone.yml
cloudbuild.yaml
codeship-services.yml
codeship-steps.yml
**/.goreleaser.yml
**/.sops.yaml
**/.flux.yaml
`
)

// Bounds of the .sourceignore files of a tree, which each of its names is held
// against.
const (
	maxIgnoreFiles = 1000
	maxIgnoreBytes = 256 << 10
	// maxIgnorePatterns are those of spec.ignore, too.
	maxIgnorePatterns = 2000
)

// tooMuch is why files that hold more than the bounds are refused.
func tooMuch(files, size int) error {
	if files <= maxIgnoreFiles && size <= maxIgnoreBytes {
		return nil
	}
	return fmt.Errorf("the tree has %d %s files of %d bytes: more than %d files or %d bytes", files, SourceIgnore, size, maxIgnoreFiles, maxIgnoreBytes)
}

// sourceIgnorer is what files and spec.ignore leave out together.
func sourceIgnorer(files []patterns, spec string) (*ignorer, error) {
	list := append([]patterns{{lines: vcsIgnore}}, files...)
	list = append(list, patterns{lines: spec})
	if newIgnorer(list[1:]...) == nil {
		list = []patterns{{lines: vcsIgnore + defaultIgnore}}
	}
	ig := newIgnorer(list...)
	if ig.count > maxIgnorePatterns {
		return nil, fmt.Errorf("%s files and spec.ignore have %d patterns, more than %d", SourceIgnore, ig.count, maxIgnorePatterns)
	}
	return ig, nil
}

// ignoreFile is a .sourceignore file below a tree object.
type ignoreFile struct {
	dir  string
	hash plumbing.Hash
}

// ignoreFiles remembers where tree objects have .sourceignore files below them:
// from one commit to the next most are the same.
type ignoreFiles struct {
	mu    sync.Mutex
	below map[plumbing.Hash][]ignoreFile
}

func (c *ignoreFiles) get(hash plumbing.Hash) ([]ignoreFile, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, ok := c.below[hash]
	return list, ok
}

func (c *ignoreFiles) put(hash plumbing.Hash, list []ignoreFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.below == nil || len(c.below) > maxCached {
		c.below = map[plumbing.Hash][]ignoreFile{}
	}
	c.below[hash] = list
}

// ignoreFilesBelow finds them in the order in which they count, parents first.
func (t *Tree) ignoreFilesBelow(hash plumbing.Hash, depth int) ([]ignoreFile, error) {
	if list, ok := t.repo.ignores.get(hash); ok {
		return list, nil
	}
	dir, err := t.dir(hash)
	if hostile := (*entryError)(nil); errors.As(err, &hostile) || errors.Is(err, object.ErrMalformedTree) {
		return nil, nil // nothing of it can be read anyway
	}
	if err != nil {
		return nil, err
	}
	var list []ignoreFile
	if e, ok := dir.byName[SourceIgnore]; ok && (e.Mode.IsRegular() || e.Mode == filemode.Executable) {
		list = append(list, ignoreFile{dir: ".", hash: e.Hash})
	}
	for _, e := range dir.entries {
		if e.Mode != filemode.Dir || depth >= maxNesting {
			continue
		}
		below, err := t.ignoreFilesBelow(e.Hash, depth+1)
		if err != nil {
			return nil, err
		}
		for _, f := range below {
			list = append(list, ignoreFile{dir: path.Join(e.Name, f.dir), hash: f.hash})
		}
		if len(list) > maxIgnoreFiles {
			return nil, fmt.Errorf("the tree has more than %d %s files", maxIgnoreFiles, SourceIgnore)
		}
	}
	t.repo.ignores.put(hash, list)
	return list, nil
}

// readIgnore finds out what is left out of the tree.
func (t *Tree) readIgnore(spec string) error {
	found, err := t.ignoreFilesBelow(t.root, 0)
	if err != nil {
		return err
	}
	var files []patterns
	var size int64
	for _, f := range found {
		_, n, err := t.repo.store.Objects.Stat(odb.Hash(f.hash))
		if err != nil {
			return fmt.Errorf("%s: %w", path.Join(f.dir, SourceIgnore), err)
		}
		// One large file may be in many directories.
		size += n
		if err := tooMuch(len(found), int(size)); err != nil {
			return err
		}
		data, err := t.blob(f.hash)
		if err != nil {
			return fmt.Errorf("%s: %w", path.Join(f.dir, SourceIgnore), err)
		}
		files = append(files, patterns{dir: f.dir, lines: string(data)})
	}
	t.ignore, err = sourceIgnorer(files, spec)
	return err
}

// Rules identifies the patterns of files that the tree omits.
func (t *Tree) Rules() string { return t.ignore.id }

// leavesOut reports whether an entry of the tree is left out. A directory is
// still there if something in it is.
func (t *Tree) leavesOut(name string, mode filemode.FileMode, hash plumbing.Hash) (bool, error) {
	out, err := t.ignore.ignores(name, mode)
	if err != nil || !out || mode != filemode.Dir || !t.ignore.includes {
		return out, err
	}
	t.mu.Lock()
	known, ok := t.hollow[name]
	t.mu.Unlock()
	if ok {
		return known, nil
	}
	dir, err := t.dir(hash)
	if err != nil {
		return false, err
	}
	if t.listed.Add(int64(len(dir.entries))) > maxListed {
		return false, fmt.Errorf("the tree has more than %d files", maxListed)
	}
	hollow := true
	for _, e := range dir.entries {
		if strings.Count(name, "/")+1 >= maxNesting {
			break
		}
		if out, err := t.leavesOut(path.Join(name, e.Name), e.Mode, e.Hash); err != nil {
			return false, err
		} else if !out {
			hollow = false
			break
		}
	}
	t.mu.Lock()
	if t.hollow == nil {
		t.hollow = map[string]bool{}
	}
	t.hollow[name] = hollow
	t.mu.Unlock()
	return hollow, nil
}

// Excluded is what a source ignores in a tree of files.
type Excluded struct{ ig *ignorer }

// ReadExcluded determines it from the .sourceignore files of the tree and the
// source's spec.ignore, which may be empty.
func ReadExcluded(tree fs.FS, spec string) (*Excluded, error) {
	var files []patterns
	size := 0
	err := fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			return nil //nolint:nilerr // who reads it will be told
		case e.IsDir() && e.Name() == ".git":
			return fs.SkipDir
		case e.Name() != SourceIgnore || !e.Type().IsRegular():
			return nil
		}
		if len(files) == maxIgnoreFiles {
			return fmt.Errorf("the tree has more than %d %s files", maxIgnoreFiles, SourceIgnore)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxIgnoreBytes {
			return fmt.Errorf("%s is larger than %d bytes", name, maxIgnoreBytes)
		}
		size += int(info.Size())
		if err := tooMuch(len(files)+1, size); err != nil {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		files = append(files, patterns{dir: path.Dir(name), lines: string(data)})
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(files, func(a, b patterns) int { return strings.Compare(a.dir, b.dir) })
	ig, err := sourceIgnorer(files, spec)
	return &Excluded{ig}, err
}

// File reports whether a file is ignored. It fails once matching has cost too
// much for all names together.
func (x *Excluded) File(name string) (bool, error) { return x.ig.ignores(name, filemode.Regular) }

// Dir reports whether a directory is ignored with everything in it. It fails as
// File does.
func (x *Excluded) Dir(name string) (bool, error) {
	if name == "." || x.ig.includes {
		return false, nil
	}
	return x.ig.ignores(name, filemode.Dir)
}

func (x *Excluded) either(name string, dir bool) (bool, error) {
	if dir {
		return x.Dir(name)
	}
	return x.File(name)
}

// From returns the tree without what is ignored.
func (x *Excluded) From(tree fs.FS) fs.FS { return without{tree, x} }

type without struct {
	tree fs.FS
	*Excluded
}

// Open implements fs.FS.
func (w without) Open(name string) (fs.File, error) {
	f, err := w.tree.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	out := false
	if err == nil {
		out, err = w.either(name, info.IsDir())
	}
	if err != nil || out {
		_ = f.Close() // nothing was written
		return nil, &fs.PathError{Op: "open", Path: name, Err: cmp.Or(err, fs.ErrNotExist)}
	}
	return f, nil
}

// ReadDir implements fs.ReadDirFS.
func (w without) ReadDir(name string) ([]fs.DirEntry, error) {
	if out, err := w.Dir(name); err != nil || out {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: cmp.Or(err, fs.ErrNotExist)}
	}
	list, err := fs.ReadDir(w.tree, name)
	var kept []fs.DirEntry
	for _, e := range list {
		out, failed := w.either(path.Join(name, e.Name()), e.IsDir())
		if failed != nil {
			return nil, &fs.PathError{Op: "readdir", Path: name, Err: failed}
		}
		if !out {
			kept = append(kept, e)
		}
	}
	return kept, err
}
