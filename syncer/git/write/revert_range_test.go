package write_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gittest"
)

// mergeTree is the tree that the git program makes of tip when what changed
// from since to commit is taken back; empty if that conflicts.
func mergeTree(tb testing.TB, bare, tip, commit, since string) string {
	tb.Helper()
	undone := gittest.Git(tb, bare, "commit-tree", "-p", commit, "-m", "undone", since+"^{tree}")
	cmd := exec.CommandContext(tb.Context(), "git", "-c", "merge.renames=false", "merge-tree", "--write-tree", tip, undone)
	cmd.Dir = bare
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// All since an older commit is taken back by one commit, with the tree that
// git says was there, whatever lies between: merges of either side, reverts,
// commits of other dates; and if the branch went on, as git merges it.
func TestRevertOfAllSince(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 19))
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	backs, moved := 0, 0
	for range 2 {
		bare, work := gittest.Repository(t)
		gittest.Push(t, work, "first", map[string]string{"a": "1", "b": "1", "d/c": "1"})
		change := func(i int) map[string]string {
			return map[string]string{[]string{"a", "b", "d/c", fmt.Sprintf("new%d", i)}[rng.IntN(4)]: fmt.Sprint(rng.IntN(100))}
		}
		for i := range 8 {
			before := gittest.Git(t, work, "rev-parse", "HEAD")
			t.Setenv("GIT_COMMITTER_DATE", fmt.Sprintf("%d +0000", 1_700_000_000+rng.IntN(10_000_000)))
			gittest.Push(t, work, fmt.Sprint("commit ", i), change(i))
			if rng.IntN(2) > 0 {
				continue
			}
			// A pull: the first parent is the local commit, the second what
			// others had pushed.
			local := gittest.Git(t, work, "rev-parse", "HEAD")
			gittest.Git(t, work, "checkout", "-q", "--detach", before)
			if err := os.WriteFile(filepath.Join(work, fmt.Sprint("theirs", i)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			gittest.Git(t, work, "add", "-A")
			gittest.Git(t, work, "commit", "-q", "-m", fmt.Sprint("theirs ", i))
			theirs := gittest.Git(t, work, "rev-parse", "HEAD")
			gittest.Git(t, work, "checkout", "-q", "main")
			gittest.Git(t, work, "reset", "-q", "--hard", local)
			gittest.Git(t, work, "merge", "-q", "--no-ff", "-m", "Merge branch 'main'", theirs)
			gittest.Git(t, work, "push", "-q", "origin", "main")
		}
		r := gittest.Open(t, bare)
		commits := strings.Fields(gittest.Git(t, work, "rev-list", "HEAD"))
		head := commits[0]
		for _, since := range commits[1:] {
			commit := commits[rng.IntN(slices.Index(commits, since))]
			if exec.CommandContext(t.Context(), "git", "-C", bare, "merge-base", "--is-ancestor", since, commit).Run() != nil {
				commit = head
			}
			opts := write.RevertOptions{Branch: "main", Commit: commit, Since: since, Author: sig, Committer: sig}
			want := mergeTree(t, bare, head, commit, since)
			c, err := write.Revert(t.Context(), r, opts)
			var conflict *write.ConflictError
			switch {
			case err == nil:
				backs++
				if commit == head && c.Tree != gittest.Git(t, bare, "rev-parse", since+"^{tree}") {
					t.Errorf("all since %s: not the tree of then\n%s", since, gittest.Git(t, bare, "diff", "--stat", since, c.SHA))
				}
				if c.Tree != want {
					t.Errorf("%s..%s: the tree is %s, git makes %q", since, commit, c.Tree, want)
				}
				if of, err := write.RevertOf(r, c.SHA); err != nil || of != (write.Reverted{Commit: commit, Since: since}) {
					t.Errorf("RevertOf = %v, %v; want all from %s to %s\n%s", of, err, since, commit, c.Message)
				}
				single := gittest.Git(t, bare, "rev-parse", commit+"^1") == since // in Git's own words
				for taken := range strings.FieldsSeq(gittest.Git(t, bare, "rev-list", since+".."+commit)) {
					if !single && !strings.Contains(c.Message, taken[:12]) {
						t.Errorf("the message does not name %s, which is taken back:\n%s", taken, c.Message)
					}
				}
				gittest.Git(t, bare, "update-ref", "refs/heads/main", head)
			case errors.As(err, &conflict):
				moved++
				if want != "" {
					t.Errorf("%s..%s: %v, but git makes %s", since, commit, err, want)
				}
			case errors.Is(err, write.ErrNothingToRevert):
				if want != gittest.Git(t, bare, "rev-parse", head+"^{tree}") {
					t.Errorf("%s..%s: nothing to revert, but git makes %s", since, commit, want)
				}
			default:
				t.Errorf("%s..%s: %v", since, commit, err)
			}
		}
		gittest.Git(t, bare, "fsck", "--strict")
	}
	if backs < 10 || moved < 2 {
		t.Errorf("%d reverts and %d conflicts: the histories are too simple", backs, moved)
	}
}

// What is not before a commit cannot be gone back to.
func TestRevertToWhatIsNotBefore(t *testing.T) {
	bare, work := gittest.Repository(t)
	first := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	second := gittest.Push(t, work, "second", map[string]string{"a": "2"})
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	r := gittest.Open(t, bare)
	if _, err := write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: first, Since: second, Author: sig, Committer: sig}); err == nil || !strings.Contains(err.Error(), "is not before") {
		t.Errorf("revert to a later commit: %v", err)
	}
	if got := gittest.Git(t, bare, "rev-parse", "main"); got != second {
		t.Errorf("main moved to %s", got)
	}
}
