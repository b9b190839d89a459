package write

import (
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git"
)

// reader reads trees and files.
type reader struct{ store *git.Storage }

// diffTrees collects the files that differ, without reading equal trees.
func (r reader) diffTrees(dir string, a, b plumbing.Hash, changed map[string][2]edit) error {
	if a == b {
		return nil
	}
	before, err := r.entries(a)
	if err != nil {
		return err
	}
	after, err := r.entries(b)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for n := range before {
		names[n] = true
	}
	for n := range after {
		names[n] = true
	}
	for n := range names {
		x, y, full := before[n], after[n], path.Join(dir, n)
		if x == y {
			continue
		}
		var subtrees [2]plumbing.Hash
		if x.Mode == filemode.Dir {
			subtrees[0], x = x.Hash, edit{}
		}
		if y.Mode == filemode.Dir {
			subtrees[1], y = y.Hash, edit{}
		}
		if err := r.diffTrees(full, subtrees[0], subtrees[1], changed); err != nil {
			return err
		}
		if x != y {
			changed[full] = [2]edit{x, y}
		}
	}
	return nil
}

// entries reads a tree; the zero hash is an empty one.
func (r reader) entries(tree plumbing.Hash) (map[string]edit, error) {
	m := map[string]edit{}
	if tree.IsZero() {
		return m, nil
	}
	t, err := object.GetTree(r.store, tree)
	if err != nil {
		return nil, err
	}
	for _, e := range t.Entries {
		m[e.Name] = edit{Mode: e.Mode, Hash: e.Hash}
	}
	return m, nil
}

// entry finds a path in a tree; the zero edit if it is not there.
func (r reader) entry(tree plumbing.Hash, name string) (edit, error) {
	cur := edit{Mode: filemode.Dir, Hash: tree}
	for part := range strings.SplitSeq(name, "/") {
		if cur.Mode != filemode.Dir {
			return edit{}, nil
		}
		m, err := r.entries(cur.Hash)
		if err != nil {
			return edit{}, err
		}
		cur = m[part]
	}
	return cur, nil
}
