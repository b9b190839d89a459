package git_test

import (
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/internal/gittest"
)

// What a plan may be asked for is fetched on demand, with its history, over
// HTTP as well as from a local repository, and moves nothing that is followed.
func TestFetchRevision(t *testing.T) {
	bare, work := gittest.Repository(t)
	main := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	gittest.Git(t, work, "checkout", "-q", "-b", "feature/x")
	proposed := gittest.Push(t, work, "proposed", map[string]string{"a": "2"})
	gittest.Git(t, work, "tag", "-a", "-m", "tagged", "v1")
	gittest.Git(t, work, "push", "-q", "origin", "HEAD:refs/heads/feature/x", "HEAD:refs/pull/12/head", "HEAD:refs/merge-requests/7/head", "v1")
	gittest.Git(t, work, "checkout", "-q", "main")
	gittest.Git(t, work, "merge", "-q", "--no-ff", "--no-edit", "feature/x")
	merged := gittest.Git(t, work, "rev-parse", "HEAD")
	gittest.Git(t, work, "push", "-q", "origin", "HEAD:refs/pull/12/merge")
	gittest.Git(t, work, "checkout", "-q", "--detach", "feature/x")
	gittest.Git(t, work, "commit", "-q", "--allow-empty", "-m", "of no branch")
	loose := gittest.Git(t, work, "rev-parse", "HEAD")
	gittest.Git(t, work, "push", "-q", "origin", "HEAD:refs/changes/1/1")
	gittest.Git(t, bare, "update-ref", "refs/heads/main", main)
	gittest.Git(t, bare, "config", "uploadpack.allowAnySHA1InWant", "true")
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	local, err := git.Open(bare)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = local.Close() }()
	for rev, want := range map[string]string{
		"main": main, "feature/x": proposed, "v1": proposed, proposed: proposed, "refs/pull/12/head": proposed,
		"pull/12": proposed, "pull/12/head": proposed, "pull/12/merge": merged,
		"merge-requests/7": proposed, "merge-requests/7/head": proposed, "refs/changes/1/1": loose, loose: loose,
	} {
		m := gittest.Mirror(t, srv.URL+"/repo.git")
		if h := gittest.Fetch(t, m, git.Ref{Branch: "main"}, nil); h.Commit != main {
			t.Fatalf("main is at %s", h.Commit)
		}
		for name, r := range map[string]*git.Repository{"mirror": m, "local": local} {
			got, err := r.FetchRevision(t.Context(), rev, nil)
			if err != nil || got != want {
				t.Errorf("%s: FetchRevision(%s) = %s, %v, want %s", name, rev, got, err, want)
				continue
			}
			if ok, err := history.IsAncestor(r, main, got); err != nil || !ok {
				t.Errorf("%s: %s came without its history: %v", name, rev, err)
			}
		}
		if h := gittest.Fetch(t, m, git.Ref{Branch: "main"}, nil); h.Commit != main {
			t.Errorf("after a plan of %s main is at %s", rev, h.Commit)
		}
	}
	m := gittest.Mirror(t, srv.URL+"/repo.git")
	for rev, want := range map[string]string{
		"pull/99": "the remote has no pull request pull/99", "nowhere": `unknown revision "nowhere"`, "--upload-pack=x": "unknown revision",
		"0123456789012345678901234567890123456789": "name the branch or pull request",
	} {
		if got, err := m.FetchRevision(t.Context(), rev, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("FetchRevision(%s) = %s, %v, want an error with %q", rev, got, err, want)
		}
	}
}
