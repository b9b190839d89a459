package git_test

import (
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/syncer/git"
)

// What a plan may be asked for is fetched on demand, with its history, over
// HTTP as well as from a local repository, and moves nothing that is followed.
func TestFetchRevision(t *testing.T) {
	bare, work := repository(t)
	main := push(t, work, "first", map[string]string{"a": "1"})
	run(t, work, "checkout", "-q", "-b", "feature/x")
	proposed := push(t, work, "proposed", map[string]string{"a": "2"})
	run(t, work, "tag", "-a", "-m", "tagged", "v1")
	run(t, work, "push", "-q", "origin", "HEAD:refs/heads/feature/x", "HEAD:refs/pull/12/head", "HEAD:refs/merge-requests/7/head", "v1")
	run(t, work, "checkout", "-q", "main")
	run(t, work, "merge", "-q", "--no-ff", "--no-edit", "feature/x")
	merged := run(t, work, "rev-parse", "HEAD")
	run(t, work, "push", "-q", "origin", "HEAD:refs/pull/12/merge")
	run(t, work, "checkout", "-q", "--detach", "feature/x")
	run(t, work, "commit", "-q", "--allow-empty", "-m", "of no branch")
	loose := run(t, work, "rev-parse", "HEAD")
	run(t, work, "push", "-q", "origin", "HEAD:refs/changes/1/1")
	run(t, bare, "update-ref", "refs/heads/main", main)
	run(t, bare, "config", "uploadpack.allowAnySHA1InWant", "true")
	srv := serve(t, filepath.Dir(bare), "", "")
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
		m := mirror(t, srv.URL+"/repo.git")
		if h := fetch(t, m, git.Ref{Branch: "main"}, nil); h.Commit != main {
			t.Fatalf("main is at %s", h.Commit)
		}
		for name, r := range map[string]*git.Repository{"mirror": m, "local": local} {
			got, err := r.FetchRevision(t.Context(), rev, nil)
			if err != nil || got != want {
				t.Errorf("%s: FetchRevision(%s) = %s, %v, want %s", name, rev, got, err, want)
				continue
			}
			if ok, err := r.IsAncestor(main, got); err != nil || !ok {
				t.Errorf("%s: %s came without its history: %v", name, rev, err)
			}
		}
		if h := fetch(t, m, git.Ref{Branch: "main"}, nil); h.Commit != main {
			t.Errorf("after a plan of %s main is at %s", rev, h.Commit)
		}
	}
	m := mirror(t, srv.URL+"/repo.git")
	for rev, want := range map[string]string{
		"pull/99": "the remote has no pull request pull/99", "nowhere": `unknown revision "nowhere"`, "--upload-pack=x": "unknown revision",
		"0123456789012345678901234567890123456789": "name the branch or pull request",
	} {
		if got, err := m.FetchRevision(t.Context(), rev, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("FetchRevision(%s) = %s, %v, want an error with %q", rev, got, err, want)
		}
	}
}
