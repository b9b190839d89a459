package git

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// ErrMoved says that the branch was moved meanwhile, time and again.
var ErrMoved = errors.New("the branch keeps moving: try again")

// ErrNothingToRevert says that the branch already has the files as they were
// before the commit.
var ErrNothingToRevert = errors.New("nothing to revert: the files are already as they were before the commit")

// ConflictError says that files were changed again after the commit.
type ConflictError struct {
	Commit string
	Files  []string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("commit %.12s cannot be reverted, later commits changed the same files: %s; revert those first, or edit the files and commit",
		e.Commit, strings.Join(e.Files, ", "))
}

// CheckedOutError says that the branch is checked out in a working tree,
// which a new commit behind its back would make look edited.
type CheckedOutError struct{ Branch, Dir, Commit string }

func (e *CheckedOutError) Error() string {
	if e.Commit == "" {
		return fmt.Sprintf("branch %s is checked out in %s: commit the change there", e.Branch, e.Dir)
	}
	return fmt.Sprintf("branch %s is checked out in %s: run there: git revert %s", e.Branch, e.Dir, e.Commit)
}

// RevertOptions say what to revert, where, and in whose name.
type RevertOptions struct {
	// Branch gets the revert commit, Commit (full SHA) is what it takes back.
	Branch, Commit string
	// Extra is appended to the message, after Git's own lines.
	Extra             string
	Author, Committer Signature
	// Key signs the commit; nil leaves it unsigned.
	Key  *SigningKey
	Auth *Auth
}

// Revert writes a commit on the branch that takes the commit's changes back,
// file by file against its first parent, and moves the branch to it without
// force: if the branch moved meanwhile, it starts over from there. It fails
// with a ConflictError, having changed nothing, if a file was changed again
// since.
func (r *Repository) Revert(ctx context.Context, opts RevertOptions) (Commit, error) {
	for range 5 {
		head, err := r.Fetch(ctx, Ref{Branch: opts.Branch}, opts.Auth)
		if err != nil {
			return Commit{}, err
		}
		hash, err := r.writeRevert(head.Commit, opts)
		if err != nil {
			return Commit{}, err
		}
		if r.Local() {
			err = r.moveLocal(opts.Branch, head.Commit, hash.String())
		} else {
			err = r.push(ctx, opts.Branch, hash, opts.Auth)
		}
		if errors.Is(err, ErrMoved) {
			continue
		}
		if err != nil {
			return Commit{}, err
		}
		return r.Commit(hash.String())
	}
	return Commit{}, ErrMoved
}

// edit is a file's new state; a zero Mode removes it.
type edit struct {
	Mode filemode.FileMode
	Hash plumbing.Hash
}

// writeRevert writes the revert commit's objects on top of head.
func (r *Repository) writeRevert(head string, opts RevertOptions) (plumbing.Hash, error) {
	if r.Local() && !r.bare {
		if ref, err := r.store.Reference(plumbing.HEAD); err == nil && ref.Target() == plumbing.NewBranchReferenceName(opts.Branch) {
			return plumbing.ZeroHash, &CheckedOutError{Branch: opts.Branch, Dir: filepath.Dir(r.gitDir), Commit: opts.Commit}
		}
	}
	contained, err := r.IsAncestor(opts.Commit, head)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if !contained {
		return plumbing.ZeroHash, fmt.Errorf("commit %s is not on branch %s", opts.Commit, opts.Branch)
	}
	commit, err := r.Commit(opts.Commit)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if commit.Parent() == "" {
		return plumbing.ZeroHash, fmt.Errorf("commit %s is the first one: there is nothing before it to go back to", opts.Commit)
	}
	parent, err := r.Commit(commit.Parent())
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("the commit's parent is beyond what was fetched: %w", err)
	}
	tip, err := r.Commit(head)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	var hash plumbing.Hash
	err = r.read(func() error {
		var edits map[string]edit
		if edits, err = r.revertEdits(plumbing.NewHash(parent.Tree), plumbing.NewHash(commit.Tree), plumbing.NewHash(tip.Tree), opts.Commit); err != nil {
			return err
		}
		w := &writer{r: r}
		tree, err := w.tree(plumbing.NewHash(tip.Tree), edits)
		if err != nil {
			return err
		}
		if tree.IsZero() {
			if tree, err = w.object(&object.Tree{}); err != nil {
				return err
			}
		}
		sign := func(s Signature) object.Signature { return object.Signature(s) }
		hash, err = w.commit(&object.Commit{
			Author: sign(opts.Author), Committer: sign(opts.Committer), Message: revertMessage(commit, opts.Extra),
			TreeHash: tree, ParentHashes: []plumbing.Hash{plumbing.NewHash(head)},
		}, opts.Key)
		return err
	})
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("revert %.12s: %w", opts.Commit, err)
	}
	return hash, nil
}

// revertMessage is the message that git revert writes.
func revertMessage(c Commit, extra string) string {
	msg := "Revert \"" + c.Subject + "\"\n\nThis reverts commit " + c.SHA
	if len(c.Parents) > 1 {
		msg += ", reversing\nchanges made to " + c.Parents[0]
	}
	msg += ".\n"
	if extra = strings.TrimSpace(extra); extra != "" {
		msg += "\n" + extra + "\n"
	}
	return msg
}

// revertEdits compares file by file: what the commit changed (parent to
// commit) must still be as the commit left it in tip.
func (r *Repository) revertEdits(parent, commit, tip plumbing.Hash, sha string) (map[string]edit, error) {
	changed := map[string][2]edit{} // before, after
	if err := r.diffTrees("", parent, commit, changed); err != nil {
		return nil, err
	}
	edits := map[string]edit{}
	var conflicts []string
	for name, c := range changed {
		now, err := r.file(tip, name)
		switch {
		case err != nil:
			return nil, err
		case now == c[1]:
			edits[name] = c[0]
		case now != c[0]:
			conflicts = append(conflicts, name)
		}
	}
	for name, e := range edits {
		if e.Mode == 0 {
			continue
		}
		in, err := r.inTheWay(tip, name, edits)
		if err != nil {
			return nil, err
		}
		conflicts = append(conflicts, in...)
	}
	if len(conflicts) > 0 {
		slices.Sort(conflicts)
		return nil, &ConflictError{Commit: sha, Files: slices.Compact(conflicts)}
	}
	if len(edits) == 0 {
		return nil, ErrNothingToRevert
	}
	return edits, nil
}

// file is entry for files: a directory is no file of its name.
func (r *Repository) file(tip plumbing.Hash, name string) (edit, error) {
	e, err := r.entry(tip, name)
	if e.Mode == filemode.Dir {
		e = edit{}
	}
	return e, err
}

// inTheWay are the files of tip that a file cannot stand beside, because one
// needs a directory where the other is, if the edits do not remove them.
func (r *Repository) inTheWay(tip plumbing.Hash, name string, edits map[string]edit) ([]string, error) {
	var list []string
	removed := func(name string) bool {
		e, ok := edits[name]
		return ok && e.Mode == 0
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if e, err := r.file(tip, dir); err != nil {
			return nil, err
		} else if e.Mode != 0 && !removed(dir) {
			list = append(list, dir)
		}
	}
	e, err := r.entry(tip, name)
	if err != nil || e.Mode != filemode.Dir {
		return list, err
	}
	below := map[string][2]edit{}
	if err := r.diffTrees(name, plumbing.ZeroHash, e.Hash, below); err != nil {
		return nil, err
	}
	for file := range below {
		if !removed(file) {
			list = append(list, file)
		}
	}
	return list, nil
}

// RevertOf says which commit sha takes back, and nothing else: its message names
// it, and its files are those that Revert would have written. Empty for any
// other commit, whatever it says of itself.
func (r *Repository) RevertOf(sha string) (string, error) {
	c, err := r.Commit(sha)
	if err != nil {
		return "", err
	}
	reverted := c.Reverts()
	if reverted == "" || len(c.Parents) != 1 {
		return "", nil
	}
	contained, err := r.IsAncestor(reverted, c.Parent())
	if err != nil || !contained {
		return "", err
	}
	var trees [4]plumbing.Hash // before the reverted commit, after it; before the revert, after it
	was, err := r.Commit(reverted)
	if err != nil || was.Parent() == "" {
		return "", err
	}
	for i, sha := range []string{was.Parent(), reverted, c.Parent(), sha} {
		at, err := r.Commit(sha)
		if err != nil {
			return "", err
		}
		trees[i] = plumbing.NewHash(at.Tree)
	}
	same := false
	err = r.read(func() error {
		edits, err := r.revertEdits(trees[0], trees[1], trees[2], reverted)
		var conflict *ConflictError
		if errors.As(err, &conflict) || errors.Is(err, ErrNothingToRevert) {
			return nil
		}
		if err != nil {
			return err
		}
		done := map[string][2]edit{}
		if err := r.diffTrees("", trees[2], trees[3], done); err != nil {
			return err
		}
		same = len(done) == len(edits)
		for name, d := range done {
			e, ok := edits[name]
			same = same && ok && e == d[1]
		}
		return nil
	})
	if err != nil || !same {
		return "", err
	}
	return reverted, nil
}

// diffTrees collects the files that differ, without reading equal trees.
func (r *Repository) diffTrees(dir string, a, b plumbing.Hash, changed map[string][2]edit) error {
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
func (r *Repository) entries(tree plumbing.Hash) (map[string]edit, error) {
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
func (r *Repository) entry(tree plumbing.Hash, name string) (edit, error) {
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
