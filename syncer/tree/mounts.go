package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Mounts is a combined tree: base, which may be nil, and on top of it
// directories of other trees, at their own paths.
type Mounts struct {
	base Tree
	list []Mount
}

// Mount shows the directory from of a tree at the path at.
type Mount struct {
	At, From string
	Tree     Tree
}

var _ Tree = (*Mounts)(nil)

// NewMounts returns the combined tree. It fails for paths that lead out of the
// tree, that overlap, or that exist in base.
func NewMounts(base Tree, list []Mount) (*Mounts, error) {
	for i, m := range list {
		if !fs.ValidPath(m.At) || !fs.ValidPath(m.From) {
			return nil, fmt.Errorf("%q or %q is not a path below the repository's root", m.At, m.From)
		}
		for _, other := range list[:i] {
			if Within(m.At, other.At) || Within(other.At, m.At) {
				return nil, fmt.Errorf("%q and %q overlap", other.At, m.At)
			}
		}
		if info, err := fs.Stat(m.Tree, m.From); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, fmt.Errorf("%q is not a directory", m.From)
		}
		if base == nil {
			continue
		}
		if _, err := base.Stat(m.At); err == nil {
			return nil, fmt.Errorf("%q is in the repository already", m.At)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return &Mounts{base: base, list: list}, nil
}

// Within reports whether name is dir or below it.
func Within(name, dir string) bool {
	return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
}

// find is the tree that a name is in, and its name there; a nil tree is that
// of a directory above mounts that is nowhere else.
func (t *Mounts) find(op, name string) (Tree, string, error) {
	if !fs.ValidPath(name) {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	for _, m := range t.list {
		if Within(name, m.At) {
			rest := strings.TrimPrefix(strings.TrimPrefix(name, m.At), "/")
			if m.At == "." {
				rest = name
			}
			return m.Tree, path.Join(m.From, rest), nil
		}
	}
	above := len(t.children(name)) > 0
	if t.base != nil {
		if info, err := t.base.Stat(name); err == nil && (!above || info.IsDir()) {
			return t.base, name, nil
		}
	}
	if above || name == "." {
		return nil, name, nil
	}
	return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// children are the names right below a directory on the way to mounts.
func (t *Mounts) children(dir string) []string {
	var names []string
	for _, m := range t.list {
		rest, below := strings.CutPrefix(m.At, dir+"/")
		if dir == "." {
			rest, below = m.At, m.At != "."
		}
		if below {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Open implements fs.FS.
func (t *Mounts) Open(name string) (fs.File, error) {
	in, there, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if in != nil && len(t.children(name)) == 0 && path.Base(there) == path.Base(name) {
		return in.Open(there)
	}
	entries, err := t.ReadDir(name)
	if err != nil {
		return nil, err
	}
	return &treeDir{treeFile: treeFile{Reader: strings.NewReader(""), info: treeInfo{name: path.Base(name), dir: true}}, entries: entries}, nil
}

// ReadFile implements fs.ReadFileFS.
func (t *Mounts) ReadFile(name string) ([]byte, error) {
	in, there, err := t.find("read", name)
	if err != nil {
		return nil, err
	}
	if in == nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	return in.ReadFile(there)
}

// Stat implements fs.StatFS.
func (t *Mounts) Stat(name string) (fs.FileInfo, error) {
	in, there, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	if in == nil || path.Base(there) != path.Base(name) {
		return treeInfo{name: path.Base(name), dir: true}, nil
	}
	return in.Stat(there)
}

// ReadDir implements fs.ReadDirFS.
func (t *Mounts) ReadDir(name string) ([]fs.DirEntry, error) {
	in, there, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	var entries []fs.DirEntry
	if in != nil {
		if entries, err = in.ReadDir(there); err != nil {
			return nil, err
		}
	}
	for _, child := range t.children(name) {
		if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == child }) {
			entries = append(entries, fs.FileInfoToDirEntry(treeInfo{name: child, dir: true}))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Rules implements tree.
func (t *Mounts) Rules() string {
	rules := ""
	if t.base != nil {
		rules = t.base.Rules()
	}
	for _, m := range t.list {
		rules += "\n" + m.Tree.Rules()
	}
	return rules
}

// Hash implements tree.
func (t *Mounts) Hash(name string) (string, error) {
	in, there, err := t.find("hash", name)
	if err != nil {
		return "", err
	}
	own := ""
	if in != nil {
		if own, err = in.Hash(there); err != nil || len(t.children(name)) == 0 {
			return own, err
		}
	}
	h := sha256.New()
	fmt.Fprintln(h, own)
	for _, m := range t.list {
		if Within(m.At, name) {
			sum, err := m.Tree.Hash(m.From)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%q %s\n", m.At, sum)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
