package write_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gittest"
)

// gitRevert is the tree that the git program makes of HEAD by a revert, or
// empty if it finds a conflict or nothing to do.
func gitRevert(tb testing.TB, work, sha string, merge bool) string {
	tb.Helper()
	args := []string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "revert", "--no-edit"}
	if merge {
		args = append(args, "-m", "1")
	}
	cmd := exec.CommandContext(context.Background(), "git", append(args, sha)...)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	before := gittest.Git(tb, work, "rev-parse", "HEAD")
	defer gittest.Git(tb, work, "clean", "-qfdx")
	defer gittest.Git(tb, work, "reset", "-q", "--hard", before)
	if err := cmd.Run(); err != nil {
		return ""
	}
	return gittest.Git(tb, work, "rev-parse", "HEAD^{tree}")
}

// exact reports whether tree is head with all that the commit changed, and nobody
// since, as it was in the parent, and nothing else: the git program does not
// always see that where files become directories.
func exact(tb testing.TB, bare, commit, parent, head, tree string) bool {
	tb.Helper()
	diff := func(a, b string) map[string]bool {
		files := map[string]bool{}
		for name := range strings.FieldsSeq(gittest.Git(tb, bare, "diff", "--no-renames", "--name-only", a, b)) {
			files[name] = true
		}
		return files
	}
	changed, since, done, left := diff(parent, commit), diff(commit, head), diff(head, tree), diff(parent, tree)
	for name := range changed {
		if left[name] {
			return false
		}
	}
	for name := range done {
		if !changed[name] || since[name] {
			return false
		}
	}
	return true
}

// Reverts in histories made at random, with files that change, move, become
// directories, links and programs, and with merges: whatever Revert writes is
// what the git program writes, or exactly the inverse; and a conflict names
// only files that were touched since.
func TestRevertAsGitDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	clean, conflicts := 0, 0
	for range 4 {
		bare, work := gittest.Repository(t)
		edit := func() {
			name := []string{"a", "b", "d", "d/a", "d/b", "d/e/a", "c"}[rng.IntN(7)]
			path := filepath.Join(work, name)
			switch rng.IntN(8) {
			case 0:
				_ = os.RemoveAll(path)
			case 1:
				_ = os.Chmod(path, 0o755)
			case 2:
				_ = os.RemoveAll(path)
				_ = os.Symlink("a", path)
			case 3:
				_ = os.Rename(path, filepath.Join(work, fmt.Sprintf("moved%d", rng.IntN(3))))
			default:
				for dir := filepath.Dir(path); dir != work; dir = filepath.Dir(dir) {
					if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
						_ = os.Remove(dir)
					}
				}
				_ = os.RemoveAll(path)
				_ = os.MkdirAll(filepath.Dir(path), 0o755)
				_ = os.WriteFile(path, []byte(strings.Repeat(name+"\n", 5)+fmt.Sprint(rng.IntN(3))+"\n"), 0o644)
			}
		}
		commit := func(subject string) {
			for range 1 + rng.IntN(3) {
				edit()
			}
			gittest.Git(t, work, "add", "-A")
			gittest.Git(t, work, "commit", "-q", "--allow-empty", "-m", subject)
		}
		commit("first")
		for i := range 8 {
			if i%4 != 3 {
				commit(fmt.Sprint("commit ", i))
				continue
			}
			gittest.Git(t, work, "checkout", "-q", "-b", fmt.Sprint("topic", i))
			commit("topic")
			gittest.Git(t, work, "checkout", "-q", "main")
			gittest.Git(t, work, "commit", "-q", "--allow-empty", "-m", "main goes on")
			gittest.Git(t, work, "merge", "-q", "--no-ff", "-m", "merge", fmt.Sprint("topic", i))
		}
		gittest.Git(t, work, "push", "-q", "origin", "main")
		head := gittest.Git(t, work, "rev-parse", "HEAD")
		r := gittest.Open(t, bare)
		for line := range strings.SplitSeq(gittest.Git(t, work, "rev-list", "--first-parent", "--parents", "HEAD"), "\n") {
			ids := strings.Fields(line)
			if len(ids) < 2 {
				continue // the first one
			}
			sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
			want := gitRevert(t, work, ids[0], len(ids) > 2)
			c, err := write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: ids[0], Author: sig, Committer: sig})
			var conflict *write.ConflictError
			switch {
			case err == nil:
				clean++
				if c.Tree != want && (want != "" || !exact(t, bare, ids[0], ids[1], head, c.Tree)) {
					t.Errorf("revert of %s: tree %s, git's is %q\n%s", ids[0], c.Tree, want, gittest.Git(t, bare, "diff", "--stat", c.Tree, head))
				}
				if of, err := write.RevertOf(r, c.SHA); err != nil || of.Commit != ids[0] || of.Since != ids[1] {
					t.Errorf("RevertOf = %v, %v; want %s", of, err, ids[0])
				}
				gittest.Git(t, bare, "fsck", "--strict")
				gittest.Git(t, bare, "update-ref", "refs/heads/main", head)
			case errors.As(err, &conflict):
				conflicts++
				touched := gittest.Git(t, work, "log", "--format=", "--name-only", "--no-renames", "-m", "--first-parent", ids[0]+"..HEAD")
				for _, f := range conflict.Files {
					if !strings.Contains(touched, f) {
						t.Errorf("revert of %s: a conflict in %s, which nobody touched since:\n%s", ids[0], f, touched)
					}
				}
				if got := gittest.Git(t, bare, "rev-parse", "main"); got != head {
					t.Errorf("a conflict moved main to %s", got)
				}
			case errors.Is(err, write.ErrNothingToRevert):
				if want != "" && want != gittest.Git(t, work, "rev-parse", "HEAD^{tree}") {
					t.Errorf("nothing to revert of %s, but git makes %s", ids[0], want)
				}
			default:
				t.Errorf("revert of %s: %v", ids[0], err)
			}
		}
	}
	if clean < 5 || conflicts < 5 {
		t.Errorf("%d clean reverts and %d conflicts: the histories are too simple", clean, conflicts)
	}
}

// What is in the way of a file that comes back is a conflict, not overwritten.
func TestRevertOverwritesNothing(t *testing.T) {
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	revert := func(t *testing.T, bare, sha string) (git.Commit, error) {
		t.Helper()
		return write.Revert(t.Context(), gittest.Open(t, bare), write.RevertOptions{Branch: "main", Commit: sha, Author: sig, Committer: sig})
	}
	conflict := func(t *testing.T, err error, file string) {
		t.Helper()
		var c *write.ConflictError
		if !errors.As(err, &c) || len(c.Files) != 1 || c.Files[0] != file {
			t.Errorf("revert: %v, want a conflict in %s", err, file)
		}
	}
	t.Run("a file where the directory was", func(t *testing.T) {
		bare, work := gittest.Repository(t)
		gittest.Push(t, work, "first", map[string]string{"d/a": "1", "b": "1"})
		second := gittest.Push(t, work, "second", map[string]string{"d/a": ""})
		if err := os.Remove(filepath.Join(work, "d")); err != nil {
			t.Fatal(err)
		}
		gittest.Push(t, work, "third", map[string]string{"d": "3"})
		_, err := revert(t, bare, second)
		conflict(t, err, "d")
	})
	t.Run("a directory where the file was", func(t *testing.T) {
		bare, work := gittest.Repository(t)
		gittest.Push(t, work, "first", map[string]string{"d": "1", "b": "1"})
		second := gittest.Push(t, work, "second", map[string]string{"d": ""})
		gittest.Push(t, work, "third", map[string]string{"d/a": "3"})
		_, err := revert(t, bare, second)
		conflict(t, err, "d/a")
	})
	t.Run("one for the other", func(t *testing.T) {
		bare, work := gittest.Repository(t)
		gittest.Push(t, work, "first", map[string]string{"d": "1", "b": "1"})
		gittest.Git(t, work, "rm", "-q", "d")
		second := gittest.Push(t, work, "second", map[string]string{"d/a": "2"})
		c, err := revert(t, bare, second)
		if err != nil {
			t.Fatal(err)
		}
		if got := gittest.Git(t, bare, "ls-tree", "-r", "--name-only", c.SHA); got != "b\nd" {
			t.Errorf("files after the revert: %q", got)
		}
	})
}

// A commit that claims to be a revert and is not is none.
func TestRevertOf(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1", "b": "1"})
	second := gittest.Push(t, work, "second", map[string]string{"a": "2"})
	says := "Revert\n\nThis reverts commit " + second + "."
	r := gittest.Open(t, bare)
	for name, files := range map[string]map[string]string{
		"something else":   {"b": "2"},
		"more than that":   {"a": "1", "b": "3"},
		"not what was":     {"a": "9"},
		"nothing, in fact": {"a": "2"},
	} {
		sha := gittest.Push(t, work, says, files)
		if of, err := write.RevertOf(r, sha); err != nil || of.Commit != "" {
			t.Errorf("%s: RevertOf = %v, %v", name, of, err)
		}
		gittest.Git(t, work, "reset", "-q", "--hard", second)
		gittest.Git(t, work, "push", "-q", "--force", "origin", "HEAD:main")
	}
	gittest.Git(t, work, "revert", "--no-edit", second)
	gittest.Git(t, work, "push", "-q", "origin", "HEAD:main")
	if of, err := write.RevertOf(r, gittest.Git(t, work, "rev-parse", "HEAD")); err != nil || of.Commit != second {
		t.Errorf("git's own revert: RevertOf = %v, %v", of, err)
	}
	if of, err := write.RevertOf(r, second); err != nil || of.Commit != "" {
		t.Errorf("no revert: RevertOf = %v, %v", of, err)
	}
}
