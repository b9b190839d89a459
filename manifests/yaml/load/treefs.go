package load

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// treeRoot is where kustomize sees the tree. It is not "/" because a path that
// leaves the tree (../../..) would then be cleaned into one inside of it.
const treeRoot = "/tree"

// treeFS reads the files of a tree within the limits of Options. It is also
// the file system that kustomize sees: the tree and nothing else, where
// kustomization files come out as prepare makes them.
type treeFS struct {
	tree  fs.FS
	opts  Options
	files int
	bytes int64
	// links remembers the result of looking for symbolic links on a path.
	links map[string]bool
	// prepare checks and completes the contents of a kustomization file.
	prepare func(file string, data []byte) ([]byte, error)
	// prepared are the files of the build that were read.
	prepared map[string][]byte
	// generated holds files that only the build sees.
	generated map[string][]byte
	// exceeded is the first limit that was met. Kustomize drops the errors of
	// some reads and tries another file name instead.
	exceeded error
	// looks, if not nil, gets what was found at each path that was asked for.
	looks map[string]look
}

func newTreeFS(tree fs.FS, opts Options) *treeFS {
	return &treeFS{tree: tree, opts: opts, links: map[string]bool{}, generated: map[string][]byte{}}
}

// entryKind is what a path of the tree is.
type entryKind uint8

const (
	kindMissing entryKind = iota
	kindOutside
	kindSymlink
	kindFile
	kindDir
	kindOther
)

// problem says why an entry cannot serve as what is wanted.
func (k entryKind) problem(wanted string) string {
	switch k {
	case kindMissing:
		return "no such " + wanted
	case kindOutside:
		return "is outside of the tree; only files of the repository are read"
	case kindSymlink:
		return "is or is below a symbolic link, which is not followed; put the file itself there"
	case kindFile, kindDir, kindOther:
	}
	return "is not a " + wanted
}

func (t *treeFS) kind(p string) entryKind {
	k := t.entry(p)
	if t.looks != nil {
		if _, ok := t.looks[p]; !ok {
			t.looks[p] = look{kind: k}
		}
	}
	return k
}

func (t *treeFS) entry(p string) entryKind {
	if !fs.ValidPath(p) {
		return kindOutside
	}
	if _, ok := t.generated[p]; ok {
		return kindFile
	}
	if t.behindLink(p) {
		return kindSymlink
	}
	info, err := fs.Stat(t.tree, p)
	switch {
	case err != nil:
		return kindMissing
	case info.IsDir():
		return kindDir
	case info.Mode().IsRegular():
		return kindFile
	}
	return kindOther
}

// behindLink reports whether p or a directory above it is a symbolic link.
func (t *treeFS) behindLink(p string) bool {
	if p == "." {
		return false
	}
	if known, ok := t.links[p]; ok {
		return known
	}
	link := t.behindLink(path.Dir(p))
	if !link {
		info, err := fs.Lstat(t.tree, p)
		link = err == nil && info.Mode()&fs.ModeSymlink != 0
	}
	t.links[p] = link
	return link
}

// count spends one look at an entry. Kustomize reads a base again for each
// reference to it, so this also ends builds that grow exponentially.
func (t *treeFS) count(n int) error {
	t.files += n
	if t.files > t.opts.MaxFiles {
		return t.exceed("more than %d files to read; split the tree into several Kustomizations", t.opts.MaxFiles)
	}
	return nil
}

func (t *treeFS) exceed(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if t.exceeded == nil {
		t.exceeded = err
	}
	return err
}

func (t *treeFS) readDir(p string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(t.tree, p)
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	return entries, t.count(len(entries))
}

func (t *treeFS) read(p string) ([]byte, error) {
	if err := t.count(1); err != nil {
		return nil, err
	}
	if data, ok := t.generated[p]; ok {
		return data, nil
	}
	if kind := t.kind(p); kind != kindFile {
		return nil, errors.New(kind.problem("file"))
	}
	f, err := t.tree.Open(p)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, t.opts.MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	if int64(len(data)) > t.opts.MaxFileBytes {
		return nil, t.exceed("larger than %d bytes", t.opts.MaxFileBytes)
	}
	if t.bytes += int64(len(data)); t.bytes > t.opts.MaxTotalBytes {
		return nil, t.exceed("more than %d bytes to read in all; split the tree into several Kustomizations", t.opts.MaxTotalBytes)
	}
	if t.looks != nil {
		t.looks[p] = look{kind: kindFile, sum: t.sumOfRead(p, data)}
	}
	return data, nil
}

// inTree is the path in the tree of one that kustomize uses.
func inTree(p string) string {
	p = filepath.Clean(p)
	if p == treeRoot {
		return "."
	}
	if rest, ok := strings.CutPrefix(p, treeRoot+"/"); ok {
		return rest
	}
	return "../" + strings.TrimPrefix(p, "/") // not valid: outside
}

// CleanedAbs implements kustomize.FS.
func (t *treeFS) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	p := inTree(name)
	switch kind := t.kind(p); kind {
	case kindDir:
		return filesys.ConfirmedDir(path.Join(treeRoot, p)), "", nil
	case kindFile:
		return filesys.ConfirmedDir(path.Join(treeRoot, path.Dir(p))), path.Base(p), nil
	default:
		return "", "", fmt.Errorf("%s: %s", p, kind.problem("file or directory"))
	}
}

// ReadFile implements kustomize.FS.
func (t *treeFS) ReadFile(name string) ([]byte, error) {
	p := inTree(name)
	if data, ok := t.prepared[p]; ok {
		return data, t.count(1)
	}
	data, err := t.read(p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	if data, err = t.prepare(p, data); err == nil {
		t.prepared[p] = data
	}
	return data, err
}

// IsDir implements kustomize.FS.
func (t *treeFS) IsDir(name string) bool { return t.kind(inTree(name)) == kindDir }

// Exists implements kustomize.FS.
func (t *treeFS) Exists(name string) bool {
	kind := t.kind(inTree(name))
	return kind == kindDir || kind == kindFile
}
