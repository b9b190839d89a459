package git_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gittest"
)

// A revert whose parent lies beyond the boundary of a shallow repository says
// so, and changes nothing; one within it is made.
func TestRevertPastShallowBoundary(t *testing.T) {
	bare, work := gittest.Repository(t)
	var shas []string
	for i := range 4 {
		shas = append(shas, gittest.Push(t, work, fmt.Sprint("commit ", i), map[string]string{fmt.Sprint("f", i): "x"}))
	}
	shallow := filepath.Join(t.TempDir(), "shallow.git")
	gittest.Git(t, "", "clone", "-q", "--bare", "--depth", "2", "file://"+bare, shallow)
	gittest.Git(t, shallow, "config", "http.receivepack", "true")
	srv := gittest.Serve(t, filepath.Dir(shallow), "", "")
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	for name, r := range map[string]*git.Repository{"local": gittest.Open(t, shallow), "mirror": gittest.Mirror(t, srv.URL+"/shallow.git")} {
		gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil)
		revert := func(sha string) (git.Commit, error) {
			return write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: sha, Author: sig, Committer: sig})
		}
		before := gittest.Git(t, shallow, "rev-parse", "main")
		if _, err := revert(shas[2]); err == nil || !strings.Contains(err.Error(), "beyond what was fetched") {
			t.Errorf("%s: a revert of the boundary: %v", name, err)
		}
		if _, err := revert(shas[0]); err == nil || !strings.Contains(err.Error(), "is not on branch main") {
			t.Errorf("%s: a revert past the boundary: %v", name, err)
		}
		if now := gittest.Git(t, shallow, "rev-parse", "main"); now != before {
			t.Errorf("%s: main moved to %s", name, now)
		}
		for _, c := range []struct {
			ancestor string
			want     bool
		}{{shas[2], true}, {shas[3], true}, {shas[0], false}} {
			if got, err := history.IsAncestor(r, c.ancestor, shas[3]); got != c.want || err != nil {
				t.Errorf("%s: IsAncestor(%s) = %v, %v, want %v", name, c.ancestor, got, err, c.want)
			}
		}
		// The local one goes first, and its revert is what the mirror fetches.
		if name == "local" {
			continue
		}
		c, err := revert(before)
		if err != nil || gittest.Git(t, shallow, "rev-parse", "main") != c.SHA {
			t.Errorf("%s: a revert within the boundary: %v", name, err)
		}
	}
}

// A tag comes alone; the branch that it is on comes whole afterwards, and
// stays whole.
func TestTagThenBranch(t *testing.T) {
	bare, work := gittest.Repository(t)
	first := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	second := gittest.Push(t, work, "second", map[string]string{"a": "2"})
	gittest.Git(t, work, "tag", "-a", "-m", "release", "v1")
	gittest.Git(t, work, "push", "-q", "--tags")
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	r := gittest.Mirror(t, srv.URL+"/repo.git")
	if h := gittest.Fetch(t, r, git.Ref{Tag: "v1"}, nil); h.Commit != second {
		t.Errorf("tag: %s, want %s", h.Commit, second)
	}
	if _, err := r.Commit(first); err == nil {
		t.Error("the tag came with what is before it")
	}
	third := gittest.Push(t, work, "third", map[string]string{"a": "3"})
	if h := gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil); h.Commit != third {
		t.Errorf("branch: %s, want %s", h.Commit, third)
	}
	if list, err := r.Log(third, 10); err != nil || len(list) != 3 {
		t.Errorf("the branch has %d commits, %v, want 3", len(list), err)
	}
	// The next fetch is of what is new alone, in two requests.
	before := len(srv.Requests())
	fourth := gittest.Push(t, work, "fourth", map[string]string{"a": "4"})
	gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil)
	if ok, err := history.IsAncestor(r, first, fourth); !ok || err != nil {
		t.Errorf("first is no ancestor of fourth: %v", err)
	}
	if got := srv.Requests()[before:]; len(got) != 2 || !strings.HasPrefix(got[0], "GET") || !strings.HasPrefix(got[1], "POST") {
		t.Errorf("a fetch asked %v", got)
	}
	before = len(srv.Requests())
	gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil)
	if got := srv.Requests()[before:]; len(got) != 1 {
		t.Errorf("a look without news asked %v", got)
	}
}

// After thousands of fetches there are few packs, and everything is there.
func TestManyFetches(t *testing.T) {
	bare, work := gittest.Repository(t)
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	dir := t.TempDir()
	r, err := git.Mirror(dir, srv.URL+"/repo.git", git.MirrorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var last string
	for i := range 20 {
		last = gittest.Push(t, work, fmt.Sprint("commit ", i), map[string]string{fmt.Sprint("dir/f", i): fmt.Sprint("content ", i)})
		gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil)
	}
	packs, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) == 0 || len(packs) > 16 {
		t.Errorf("there are %d packs, %v", len(packs), err)
	}
	if list, err := r.Log(last, 100); err != nil || len(list) != 20 {
		t.Errorf("Log has %d commits, %v", len(list), err)
	}
	gittest.Git(t, dir, "fsck", "--full", "--strict")
}
