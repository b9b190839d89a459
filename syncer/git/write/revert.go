package write

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/git/signature"
)

// ErrNothingToRevert reports that the branch already has the files as they were
// before the commit.
var ErrNothingToRevert = errors.New("nothing to revert: the files are already as they were before the commit")

// ConflictError reports that the same lines were changed again after the
// commit.
type ConflictError struct {
	Commit string
	Files  []string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("commit %.12s cannot be reverted, later commits changed the same lines: %s; revert those first, or edit the files and commit",
		e.Commit, strings.Join(e.Files, ", "))
}

// CheckedOutError reports that the branch is checked out in a working tree,
// whose files would look edited after a new commit.
type CheckedOutError struct{ Branch, Dir, Commit, Since string }

func (e *CheckedOutError) Error() string {
	do := "commit the change there"
	switch {
	case e.Since != "":
		do = "run there: git restore --source=" + e.Since + " --staged --worktree :/ && git commit"
	case e.Commit != "":
		do = "run there: git revert " + e.Commit
	}
	return fmt.Sprintf("branch %s is checked out in %s: %s", e.Branch, e.Dir, do)
}

// RevertOptions determine what to revert, on which branch, and under whose
// name.
type RevertOptions struct {
	// Branch gets the revert commit, and Commit (full SHA) is what it takes
	// back; empty is the branch's newest.
	Branch, Commit string
	// Since, an ancestor of Commit, makes the revert take back everything that
	// Commit has and Since has not; empty is Commit's first parent.
	Since string
	// Extra is appended to the message, after Git's own lines.
	Extra             string
	Author, Committer git.Signature
	// Key signs the commit; nil leaves it unsigned.
	Key  *signature.SigningKey
	Auth *remote.Auth
}

// Revert writes one commit on the branch that takes back the changes from
// opts.Since to opts.Commit, and moves the branch to it without force: if the
// branch moved meanwhile, it starts again from there. It fails with a
// ConflictError, having changed nothing, if the same lines were changed again
// since.
func Revert(ctx context.Context, repo *git.Repository, opts RevertOptions) (git.Commit, error) {
	for range 5 {
		head, err := repo.Fetch(ctx, git.Ref{Branch: opts.Branch}, opts.Auth)
		if err != nil {
			return git.Commit{}, err
		}
		hash, err := writeRevert(repo, head.Commit, opts)
		if err != nil {
			return git.Commit{}, err
		}
		err = Advance(ctx, repo, opts.Branch, head.Commit, hash.String(), opts.Auth)
		if errors.Is(err, ErrMoved) {
			continue
		}
		if err != nil {
			return git.Commit{}, err
		}
		return repo.Commit(hash.String())
	}
	return git.Commit{}, ErrMoved
}

// edit is a file's new state; a zero Mode removes it.
type edit struct {
	Mode filemode.FileMode
	Hash plumbing.Hash
}

// writeRevert writes the revert commit's objects on top of head.
func writeRevert(repo *git.Repository, head string, opts RevertOptions) (plumbing.Hash, error) {
	if dir, out := repo.WorkTree(opts.Branch); out {
		return plumbing.ZeroHash, &CheckedOutError{Branch: opts.Branch, Dir: dir, Commit: opts.Commit, Since: opts.Since}
	}
	if opts.Commit == "" {
		opts.Commit = head
	}
	back, err := reverted(repo, head, opts)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	tip, err := repo.Commit(head)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	var hash plumbing.Hash
	err = repo.Read(func(s *git.Storage) error {
		w := &writer{reader{s}, repo}
		edits, merged, err := w.revertEdits(plumbing.NewHash(back.since.Tree), plumbing.NewHash(back.commit.Tree), plumbing.NewHash(tip.Tree), opts.Commit)
		if err != nil {
			return err
		}
		for _, content := range merged {
			if _, err := w.blob(content); err != nil {
				return err
			}
		}
		tree, err := w.tree(plumbing.NewHash(tip.Tree), edits)
		if err != nil {
			return err
		}
		if tree.IsZero() {
			if tree, err = w.object(&object.Tree{}); err != nil {
				return err
			}
		}
		sign := func(s git.Signature) object.Signature { return object.Signature(s) }
		hash, err = w.commit(&object.Commit{
			Author: sign(opts.Author), Committer: sign(opts.Committer), Message: back.message(opts.Extra),
			TreeHash: tree, ParentHashes: []plumbing.Hash{plumbing.NewHash(head)},
		}, opts.Key)
		return err
	})
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("revert %.12s: %w", opts.Commit, err)
	}
	return hash, nil
}

// taken is what a revert takes back: all that commit has and since has not.
type taken struct {
	since, commit git.Commit
	// between are those commits, newest first; more says that there are others.
	between []git.Commit
	more    bool
}

// maxTaken bounds the commits that a revert's message names.
const maxTaken = 50

// reverted finds what is to be taken back of the branch at head.
func reverted(repo *git.Repository, head string, opts RevertOptions) (taken, error) {
	var back taken
	contained, err := history.IsAncestor(repo, opts.Commit, head)
	if err != nil {
		return back, err
	}
	if !contained {
		return back, fmt.Errorf("commit %s is not on branch %s", opts.Commit, opts.Branch)
	}
	if back.commit, err = repo.Commit(opts.Commit); err != nil {
		return back, err
	}
	since := opts.Since
	if since == "" {
		if since = back.commit.Parent(); since == "" {
			return back, fmt.Errorf("commit %s is the first one: there is nothing before it to go back to", opts.Commit)
		}
	} else if contained, err = history.IsAncestor(repo, since, opts.Commit); err != nil || !contained || since == opts.Commit {
		if err == nil && since == opts.Commit {
			return back, ErrNothingToRevert
		}
		return back, errors.Join(fmt.Errorf("commit %s is not before %s on branch %s", since, opts.Commit, opts.Branch), err)
	}
	if back.since, err = repo.Commit(since); err != nil {
		return back, fmt.Errorf("the commit's parent is beyond what was fetched: %w", err)
	}
	if back.single() {
		return back, nil
	}
	back.between, err = history.Between(repo, since, opts.Commit, maxTaken+1)
	if back.more = len(back.between) > maxTaken; back.more {
		back.between = back.between[:maxTaken]
	}
	return back, err
}

// single reports whether one commit is taken back, as git revert does it.
func (t taken) single() bool { return t.since.SHA == t.commit.Parent() }

// message is the message that git revert writes. For several commits it names
// the newest, and the one whose state comes back, in the words that Git has
// for a merge.
func (t taken) message(extra string) string {
	msg := "Revert \"" + t.commit.Subject + "\""
	if n := len(t.between); n > 1 {
		msg = fmt.Sprintf("Revert %d commits, back to %.12s", n, t.since.SHA)
		if t.more {
			msg = fmt.Sprintf("Revert more than %d commits, back to %.12s", n, t.since.SHA)
		}
	}
	msg += "\n\nThis reverts commit " + t.commit.SHA
	if len(t.commit.Parents) > 1 || !t.single() {
		msg += reversing + t.since.SHA
	}
	msg += ".\n"
	if len(t.between) > 1 {
		msg += "\nThese are taken back:\n"
		for _, c := range t.between {
			msg += fmt.Sprintf("  %.12s %s\n", c.SHA, c.Subject)
		}
		if t.more {
			msg += "  and older ones\n"
		}
	}
	if extra = strings.TrimSpace(extra); extra != "" {
		msg += "\n" + extra + "\n"
	}
	return msg
}

// reversing stands in the message of a revert before the commit that it goes
// back to, if that is not the only parent of what it reverts.
const reversing = ", reversing\nchanges made to "

// reversed is the SHA of the commit that a revert says it goes back to, or
// empty if it names none: then it is the reverted commit's parent.
func reversed(c git.Commit) string {
	_, rest, _ := strings.Cut(c.Message, "This reverts commit ")
	if len(rest) < 40 {
		return ""
	}
	rest, found := strings.CutPrefix(rest[40:], reversing)
	if !found || len(rest) < 40 || !plumbing.IsHash(rest[:40]) {
		return ""
	}
	return rest[:40]
}

// revertEdits finds what becomes of tip when what changed from parent to commit
// is taken back: file by file, and by lines in files that were changed again
// since. It also returns the contents that no object has yet.
func (r reader) revertEdits(parent, commit, tip plumbing.Hash, sha string) (map[string]edit, [][]byte, error) {
	changed := map[string][2]edit{} // before, after
	if err := r.diffTrees("", parent, commit, changed); err != nil {
		return nil, nil, err
	}
	edits := map[string]edit{}
	var contents [][]byte
	var conflicts []string
	for name, c := range changed {
		now, err := r.file(tip, name)
		switch {
		case err != nil:
			return nil, nil, err
		case now == c[1]:
			edits[name] = c[0]
		case now != c[0]:
			merged, content, ok, err := r.mergeFile(c[1], now, c[0])
			switch {
			case err != nil:
				return nil, nil, err
			case !ok:
				conflicts = append(conflicts, name)
			case merged != now:
				edits[name] = merged
				if content != nil {
					contents = append(contents, content)
				}
			}
		}
	}
	for name, e := range edits {
		if e.Mode == 0 {
			continue
		}
		in, err := r.inTheWay(tip, name, edits)
		if err != nil {
			return nil, nil, err
		}
		conflicts = append(conflicts, in...)
	}
	if len(conflicts) > 0 {
		slices.Sort(conflicts)
		return nil, nil, &ConflictError{Commit: sha, Files: slices.Compact(conflicts)}
	}
	if len(edits) == 0 {
		return nil, nil, ErrNothingToRevert
	}
	return edits, contents, nil
}

// file is entry for files: a directory is no file of its name.
func (r reader) file(tip plumbing.Hash, name string) (edit, error) {
	e, err := r.entry(tip, name)
	if e.Mode == filemode.Dir {
		e = edit{}
	}
	return e, err
}

// inTheWay are the files of tip that a file cannot stand beside, because one
// needs a directory where the other is, if the edits do not remove them.
func (r reader) inTheWay(tip plumbing.Hash, name string, edits map[string]edit) ([]string, error) {
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

// Reverted is what a commit takes back: everything that Commit has and Since,
// an ancestor of it, has not.
type Reverted struct{ Commit, Since string }

// RevertOf returns what sha takes back, if it does nothing else: its message
// names it, and its files are those that Revert would have written. It returns
// the zero value for any other commit, whatever its message claims.
func RevertOf(repo *git.Repository, sha string) (Reverted, error) {
	c, err := repo.Commit(sha)
	if err != nil {
		return Reverted{}, err
	}
	back := Reverted{Commit: c.Reverts(), Since: reversed(c)}
	if back.Commit == "" || len(c.Parents) != 1 {
		return Reverted{}, nil
	}
	contained, err := history.IsAncestor(repo, back.Commit, c.Parent())
	if err != nil || !contained {
		return Reverted{}, err
	}
	was, err := repo.Commit(back.Commit)
	if err != nil {
		return Reverted{}, err
	}
	if back.Since == "" {
		back.Since = was.Parent()
	}
	if back.Since == "" || back.Since == back.Commit {
		return Reverted{}, nil
	}
	if before, err := history.IsAncestor(repo, back.Since, back.Commit); err != nil || !before {
		return Reverted{}, err
	}
	same, err := reverts(repo, back, c)
	if err != nil || !same {
		return Reverted{}, err
	}
	return back, nil
}

// reverts reports whether the files of a commit are those that Revert would have
// written on its parent.
func reverts(repo *git.Repository, back Reverted, c git.Commit) (bool, error) {
	var trees [4]plumbing.Hash // before what is reverted, after it; before the revert, after it
	for i, sha := range []string{back.Since, back.Commit, c.Parent(), c.SHA} {
		at, err := repo.Commit(sha)
		if err != nil {
			return false, err
		}
		trees[i] = plumbing.NewHash(at.Tree)
	}
	same := false
	err := repo.Read(func(s *git.Storage) error {
		r := reader{s}
		edits, _, err := r.revertEdits(trees[0], trees[1], trees[2], back.Commit)
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
	return same, err
}
