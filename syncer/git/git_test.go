package git_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/internal/gittest"
)

func TestTree(t *testing.T) {
	bare, work := gittest.Repository(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(work, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	sha := gittest.Push(t, work, "first", map[string]string{"a.yaml": "a", "dir/b.yaml": "b", "dir.yaml": "c", "logo.png": "p"})
	r := gittest.Open(t, bare)
	if h := gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil); h.Revision() != "main@sha1:"+sha {
		t.Errorf("head = %s, want %s", h.Revision(), sha)
	}
	tree, err := r.Tree(sha, "*.png\nlink.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(tree, "a.yaml", "dir/b.yaml", "dir.yaml"); err != nil {
		t.Error(err)
	}
	if _, err := fs.Stat(tree, "logo.png"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an ignored file is there: %v", err)
	}
	if tree, err = r.Tree(sha, ""); err != nil {
		t.Fatal(err)
	}
	if data, err := fs.ReadFile(tree, "link.yaml"); err == nil {
		t.Errorf("a symbolic link was followed: %q", data)
	}
	// Another process packs and prunes while the tree is read.
	gittest.Git(t, bare, "gc", "-q", "--prune=now")
	if data, err := fs.ReadFile(tree, "dir/b.yaml"); err != nil || string(data) != "b" {
		t.Errorf("after gc: %q, %v", data, err)
	}
	// More objects than a push keeps loose come as a pack.
	for i := range 120 {
		gittest.Git(t, work, "commit", "-q", "--allow-empty", "-m", fmt.Sprint("commit ", i))
	}
	gittest.Push(t, work, "last", map[string]string{"a.yaml": "new"})
	if h := gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil); h.Commit != gittest.Git(t, work, "rev-parse", "HEAD") {
		t.Errorf("after another push: %s", h.Commit)
	}
}

func TestRefs(t *testing.T) {
	bare, work := gittest.Repository(t)
	first := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	gittest.Git(t, work, "tag", "-a", "-m", "release", "v1.2.0")
	second := gittest.Push(t, work, "second", map[string]string{"a": "2"})
	gittest.Git(t, work, "tag", "1.3.0-rc.1")
	gittest.Git(t, work, "push", "-q", "--tags", "origin", "HEAD:refs/heads/feature/x", "HEAD:refs/pull/7/head")
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	for name, r := range map[string]*git.Repository{"local": gittest.Open(t, bare), "http": gittest.Mirror(t, srv.URL+"/repo.git")} {
		for _, c := range []struct {
			ref  git.Ref
			want string
		}{
			{git.Ref{Branch: "main"}, "main@sha1:" + second},
			{git.Ref{Branch: "feature/x"}, "feature/x@sha1:" + second},
			{git.Ref{Tag: "v1.2.0", Branch: "main"}, "v1.2.0@sha1:" + first},
			{git.Ref{SemVer: ">=1.0.0", Tag: "none"}, "v1.2.0@sha1:" + first},
			{git.Ref{SemVer: ">=1.0.0-0"}, "1.3.0-rc.1@sha1:" + second},
			{git.Ref{Name: "refs/pull/7/head", SemVer: "1"}, "refs/pull/7/head@sha1:" + second},
			{git.Ref{Commit: first}, "sha1:" + first},
			{git.Ref{Commit: first, Branch: "main"}, "main@sha1:" + first},
		} {
			if got := gittest.Fetch(t, r, c.ref, nil).Revision(); got != c.want {
				t.Errorf("%s: Fetch(%+v) = %s, want %s", name, c.ref, got, c.want)
			}
		}
		_, err := r.Fetch(t.Context(), git.Ref{Branch: "nope"}, nil)
		if err == nil || err.Error() != `couldn't find remote ref "refs/heads/nope": the branches are feature/x, main` {
			t.Errorf("%s: a missing branch: %v", name, err)
		}
		for _, rev := range []string{"feature/x", "v1.2.0", second, second[:8]} {
			want := second
			if rev == "v1.2.0" {
				want = first
			}
			if got, err := r.FetchRevision(t.Context(), rev, nil); got != want {
				t.Errorf("%s: FetchRevision(%s) = %s, %v", name, rev, got, err)
			}
		}
		if ok, err := history.IsAncestor(r, first, second); !ok || err != nil {
			t.Errorf("%s: first is no ancestor of second: %v", name, err)
		}
		if ok, err := history.IsAncestor(r, second, first); ok || err != nil {
			t.Errorf("%s: second is an ancestor of first: %v", name, err)
		}
	}
}

func TestNotARepository(t *testing.T) {
	if _, err := git.Open(t.TempDir()); !errors.Is(err, git.ErrNotRepository) {
		t.Errorf("Open of an empty directory: %v", err)
	}
	if _, err := git.Open(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a missing directory: %v", err)
	}
	for _, url := range []string{"file:///etc", "/etc", "git://example.com/x", "ext::sh -c id", "git@example.com:x", "https://"} {
		if _, err := git.Mirror(t.TempDir(), url, git.MirrorOptions{}); err == nil {
			t.Errorf("Mirror(%q) was accepted", url)
		}
	}
	bare := filepath.Join(t.TempDir(), "empty.git")
	gittest.Git(t, "", "init", "-q", "--bare", bare)
	if _, err := gittest.Open(t, bare).Fetch(t.Context(), git.Ref{Branch: "main"}, nil); !errors.Is(err, git.ErrEmpty) {
		t.Errorf("Fetch of an empty repository: %v", err)
	}
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	if _, err := gittest.Mirror(t, srv.URL+"/empty.git").Fetch(t.Context(), git.Ref{Branch: "main"}, nil); !errors.Is(err, git.ErrEmpty) {
		t.Errorf("Fetch of an empty remote repository: %v", err)
	}
	if _, err := gittest.Mirror(t, srv.URL+"/none.git").Fetch(t.Context(), git.Ref{Branch: "main"}, nil); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("Fetch of a missing repository: %v", err)
	}
}

func TestWatch(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	r := gittest.Open(t, bare)
	ctx, cancel := context.WithCancel(t.Context())
	changed, ready, done := make(chan struct{}, 100), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- r.Watch(ctx, func() { close(ready) }, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	<-ready
	for what, act := range map[string]func(){
		"push":          func() { gittest.Push(t, work, "more", map[string]string{"a": fmt.Sprint(time.Now())}) },
		"nested branch": func() { gittest.Git(t, work, "push", "-q", "origin", "HEAD:refs/heads/team/one/x") },
		"packed refs":   func() { gittest.Git(t, bare, "pack-refs", "--all") },
	} {
		for len(changed) > 0 {
			<-changed
		}
		act()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: not noticed", what)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch ended with %v", err)
	}
}
