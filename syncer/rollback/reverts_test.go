package rollback_test

import (
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gittest"
	"headway.dev/syncer/rollback"
)

// A commit is not taken back any more once a later one takes back its revert, together
// with other commits.
func TestRevertThatIsTakenBackInARange(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "good", map[string]string{"a": "good\n", "b": "one\n"})
	bad := gittest.Push(t, work, "bad", map[string]string{"a": "bad\n"})
	gittest.Git(t, work, "revert", "--no-edit", bad)
	revert := gittest.Push(t, work, "an empty one", nil)
	last := gittest.Push(t, work, "another", map[string]string{"b": "two\n"})
	repo := gittest.Open(t, bare)
	by, err := rollback.TakenBackBy(repo, bad, last)
	if want := gittest.Git(t, bare, "rev-parse", revert+"^"); err != nil || by != want {
		t.Fatalf("it is taken back by %q, %v, want %s", by, err, want)
	}
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	head, err := write.RevertOn(repo, last, write.RevertOptions{Branch: "main", Commit: last, Since: bad, Author: sig, Committer: sig})
	if err != nil {
		t.Fatal(err)
	}
	if got := gittest.Git(t, bare, "show", head+":a"); got != "bad" {
		t.Fatalf("a is %q", got)
	}
	if by, err := rollback.TakenBackBy(repo, bad, head); err != nil || by != "" {
		t.Errorf("it is taken back by %q, %v, while its files are there again", by, err)
	}
}
