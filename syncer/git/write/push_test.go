package write_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/internal/gittest"
)

// report makes pushes be answered with what lines says, and brings none about.
func report(lines func() []string) gitserver.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
		var out strings.Builder
		for _, line := range lines() {
			out.WriteString(gitserver.PktLine(line + "\n"))
		}
		_, _ = w.Write([]byte(out.String() + "0000"))
	}
}

// Whether a push was refused, came too late or failed, the protocol and the
// branch tell, and not the words that a remote has for it.
func TestPushIsToldByTheBranch(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	bad := gittest.Push(t, work, "second", map[string]string{"a": "2"})
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	r := gittest.Mirror(t, srv.URL+"/repo.git")
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	revert := func() (git.Commit, error) {
		return write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: bad, Author: sig, Committer: sig})
	}

	// Refused, in the words of a branch that has moved.
	srv.Fail(report(func() []string {
		return []string{"unpack ok", "ng refs/heads/main protected: fetch first from the release team (non-fast-forward)"}
	}))
	_, err := revert()
	refused, ok := errors.AsType[*remote.RefusedError](err)
	if !ok || refused.Ref != "refs/heads/main" || write.Temporary(err) || errors.Is(err, write.ErrMoved) || !strings.Contains(err.Error(), "fetch first from the release team") {
		t.Errorf("refused: %v", err)
	}

	// Failed, in the words of a refusal.
	srv.Fail(report(func() []string {
		return []string{"unpack command error on disk", "ng refs/heads/main unpacker error"}
	}))
	if _, err := revert(); err == nil || !write.Temporary(err) || errors.Is(err, write.ErrMoved) {
		t.Errorf("failed: %v", err)
	}

	// Too late, in other words.
	theirs, pushes := "", 0
	late := report(func() []string {
		theirs = gittest.Push(t, work, "theirs", map[string]string{"b": "1"})
		return []string{"unpack ok", "ng refs/heads/main la branche a avancé"}
	})
	srv.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
			if pushes++; pushes > 1 {
				next.ServeHTTP(w, r)
				return
			}
		}
		late(w, r, next)
	})
	c, err := revert()
	if err != nil || c.Parent() != theirs || gittest.Git(t, bare, "rev-parse", "main") != c.SHA || pushes != 2 {
		t.Errorf("too late: %+v, %v; %d pushes", c, err, pushes)
	}
	gittest.Git(t, bare, "fsck", "--strict")
}

// A push moves a branch forward from where its caller knows it to be, or not
// at all.
func TestPushNeverForces(t *testing.T) {
	bare, work := gittest.Repository(t)
	first := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	second := gittest.Push(t, work, "second", map[string]string{"dir/a": "2"})
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	r := gittest.Mirror(t, srv.URL+"/repo.git")
	gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil)
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	commit := func(base, text string) string {
		sha, err := write.Files(r, base, write.FilesOptions{Branch: "main", Edits: map[string][]byte{"dir/deep/b": []byte(text)}, Author: sig, Committer: sig, Message: text})
		if err != nil {
			t.Fatal(err)
		}
		return sha
	}
	aside := commit(first, "aside")
	for from, to := range map[string]string{first: aside, second: aside} {
		if err := write.Advance(t.Context(), r, "main", from, to, nil); !errors.Is(err, write.ErrMoved) || gittest.Git(t, bare, "rev-parse", "main") != second {
			t.Errorf("from %s to %s: %v", from, to, err)
		}
	}
	// Two commits at once, which share a directory with what is there.
	tip := commit(commit(second, "one"), "two")
	for range 2 { // once more is none too many
		if err := write.Advance(t.Context(), r, "main", second, tip, nil); err != nil || gittest.Git(t, bare, "rev-parse", "main") != tip {
			t.Errorf("main is not at %s: %v", tip, err)
		}
	}
	gittest.Git(t, bare, "fsck", "--strict")
}

// A key that the server does not take is told from a connection that breaks.
func TestSSHCredentials(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	_, user := gitserver.Keys(t)
	other, _ := gitserver.Keys(t)
	host, hostKey := gitserver.Keys(t)
	addr := gitserver.SSH(t, host, user)
	url := "ssh://root@" + addr + bare
	_, err := gittest.Mirror(t, url).Fetch(t.Context(), git.Ref{Branch: "main"}, &remote.Auth{Identity: other, KnownHosts: gitserver.KnownHosts(addr, hostKey)})
	if err == nil || write.Temporary(err) || !strings.Contains(err.Error(), "check the credentials") {
		t.Errorf("another key: %v", err)
	}
	_, err = gittest.Mirror(t, url).Fetch(t.Context(), git.Ref{Branch: "main"}, &remote.Auth{Identity: other, KnownHosts: gitserver.KnownHosts(addr, user)})
	if err == nil || !write.Temporary(err) || strings.Contains(err.Error(), "check the credentials") {
		t.Errorf("another server: %v", err)
	}
}
