package write_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gittest"
)

func TestRevert(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1", "dir/b": "1", "dir/c": "1"})
	second := gittest.Push(t, work, "second", map[string]string{"a": "2", "dir/b": "", "new/d": "2"})
	// Another commit in between, to other files.
	gittest.Push(t, work, "third", map[string]string{"dir/c": "3"})
	// A merge commit, which is reverted against its first parent.
	gittest.Git(t, work, "checkout", "-q", "-b", "topic", "HEAD~1")
	gittest.Git(t, work, "commit", "-q", "--allow-empty", "-m", "topic")
	if err := os.WriteFile(filepath.Join(work, "topic"), []byte("t"), 0o644); err != nil {
		t.Fatal(err)
	}
	gittest.Git(t, work, "add", "-A")
	gittest.Git(t, work, "commit", "-q", "-m", "topic file")
	gittest.Git(t, work, "checkout", "-q", "main")
	gittest.Git(t, work, "merge", "-q", "--no-ff", "-m", "merge topic", "topic")
	gittest.Git(t, work, "push", "-q", "origin", "main")
	merge := gittest.Git(t, work, "rev-parse", "HEAD")

	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	r := gittest.Mirror(t, srv.URL+"/repo.git")
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	revert := func(sha string) (git.Commit, error) {
		return write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: sha, Author: sig, Committer: sig})
	}
	for _, sha := range []string{merge, second} {
		c, err := revert(sha)
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"revert", "--no-edit"}
		if sha == merge {
			args = append(args, "-m", "1")
		}
		gittest.Git(t, work, append(args, sha)...)
		// The git program makes the same tree and the same message.
		for _, format := range []string{"%T", "%B"} {
			if got, want := gittest.Git(t, bare, "log", "-1", "--format="+format, c.SHA), gittest.Git(t, work, "log", "-1", "--format="+format, "HEAD"); got != want {
				t.Errorf("revert of %s: %s is %q, git's is %q", sha, format, got, want)
			}
		}
	}
	gittest.Git(t, bare, "fsck", "--strict")
	before := gittest.Git(t, bare, "rev-parse", "main")
	if _, err := revert(second); !errors.Is(err, write.ErrNothingToRevert) {
		t.Errorf("reverting again: %v", err)
	}
	root := gittest.Git(t, bare, "rev-list", "--max-parents=0", "main")
	if _, err := revert(root); err == nil {
		t.Error("the first commit was reverted")
	}
	if got := gittest.Git(t, bare, "rev-parse", "main"); got != before {
		t.Errorf("main moved to %s", got)
	}
	// A branch that is checked out is not moved behind its working tree.
	var checkedOut *write.CheckedOutError
	gittest.Git(t, work, "reset", "-q", "--hard", second)
	if _, err := write.Revert(t.Context(), gittest.Open(t, work), write.RevertOptions{Branch: "main", Commit: second, Author: sig, Committer: sig}); !errors.As(err, &checkedOut) {
		t.Errorf("revert in a working tree: %v", err)
	}
}

// Reverts and pushes at the same time: nothing is lost.
func TestRevertWhileThePushersPush(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	second := gittest.Push(t, work, "second", map[string]string{"a": "2"})
	r := gittest.Open(t, bare)
	done := make(chan struct{})
	stop := make(chan struct{})
	pushed := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			if i == 1 {
				close(pushed)
			}
			select {
			case <-stop:
				return
			default:
			}
			// Plumbing, so that a lost race is not an error of the test.
			cmd := exec.CommandContext(context.Background(), "sh", "-c", fmt.Sprintf("git pull -q --rebase origin main && echo %d > other && git add -A && git -c user.name=A -c user.email=a@b commit -qm other%d && git push -q origin HEAD:main", i, i))
			cmd.Dir = work
			cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@b")
			_ = cmd.Run()
		}
	}()
	<-pushed
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	c, err := write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: second, Author: sig, Committer: sig})
	close(stop)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	gittest.Git(t, bare, "merge-base", "--is-ancestor", c.SHA, "main")
	gittest.Git(t, bare, "fsck", "--strict")
	if got := gittest.Git(t, bare, "show", "main:a"); got != "1" {
		t.Errorf("a = %q after the revert", got)
	}
}
