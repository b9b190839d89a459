package syncer

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

// mounts is a tree that is put together: base, which may be nil, and on top of
// it directories of other trees, at paths of their own.
type mounts struct {
	base tree
	list []mount
}

// mount shows the directory from of a tree at the path at.
type mount struct {
	at, from string
	tree     tree
}

var _ tree = (*mounts)(nil)

// newMounts fails for paths that lead out of the tree, that overlap, or that
// base has already.
func newMounts(base tree, list []mount) (*mounts, error) {
	for i, m := range list {
		if !fs.ValidPath(m.at) || !fs.ValidPath(m.from) {
			return nil, fmt.Errorf("%q or %q is not a path below the repository's root", m.at, m.from)
		}
		for _, other := range list[:i] {
			if within(m.at, other.at) || within(other.at, m.at) {
				return nil, fmt.Errorf("%q and %q overlap", other.at, m.at)
			}
		}
		if info, err := fs.Stat(m.tree, m.from); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, fmt.Errorf("%q is not a directory", m.from)
		}
		if base == nil {
			continue
		}
		if _, err := base.Stat(m.at); err == nil {
			return nil, fmt.Errorf("%q is in the repository already", m.at)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return &mounts{base: base, list: list}, nil
}

// within says whether name is dir or below it.
func within(name, dir string) bool {
	return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
}

// find is the tree that a name is in, and its name there; a nil tree is that
// of a directory above mounts that is nowhere else.
func (t *mounts) find(op, name string) (tree, string, error) {
	if !fs.ValidPath(name) {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	for _, m := range t.list {
		if within(name, m.at) {
			rest := strings.TrimPrefix(strings.TrimPrefix(name, m.at), "/")
			if m.at == "." {
				rest = name
			}
			return m.tree, path.Join(m.from, rest), nil
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
func (t *mounts) children(dir string) []string {
	var names []string
	for _, m := range t.list {
		rest, below := strings.CutPrefix(m.at, dir+"/")
		if dir == "." {
			rest, below = m.at, m.at != "."
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
func (t *mounts) Open(name string) (fs.File, error) {
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
func (t *mounts) ReadFile(name string) ([]byte, error) {
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
func (t *mounts) Stat(name string) (fs.FileInfo, error) {
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
func (t *mounts) ReadDir(name string) ([]fs.DirEntry, error) {
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
func (t *mounts) Rules() string {
	rules := ""
	if t.base != nil {
		rules = t.base.Rules()
	}
	for _, m := range t.list {
		rules += "\n" + m.tree.Rules()
	}
	return rules
}

// Hash implements tree.
func (t *mounts) Hash(name string) (string, error) {
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
		if within(m.at, name) {
			sum, err := m.tree.Hash(m.from)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%q %s\n", m.at, sum)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
