package remote_test

import (
	"crypto/rand"
	"errors"
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

func TestHTTPAuth(t *testing.T) {
	bare, work := gittest.Repository(t)
	sha := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	srv := gittest.Serve(t, filepath.Dir(bare), "ada", "secret")
	url := srv.URL + "/repo.git"
	for _, data := range []map[string][]byte{
		{"username": []byte("ada"), "password": []byte("secret")},
		{"bearerToken": []byte("secret\n")},
	} {
		auth, err := remote.AuthFromSecret(url, data)
		if err != nil {
			t.Fatal(err)
		}
		if h := gittest.Fetch(t, gittest.Mirror(t, url), git.Ref{Branch: "main"}, auth); h.Commit != sha {
			t.Errorf("head = %s, want %s", h.Commit, sha)
		}
	}
	_, err := gittest.Mirror(t, url).Fetch(t.Context(), git.Ref{Branch: "main"}, &remote.Auth{Username: "ada", Password: "wrong-password"})
	if err == nil || !strings.Contains(err.Error(), "check the credentials") || strings.Contains(err.Error(), "wrong-password") {
		t.Errorf("wrong password: %v", err)
	}
}

// A fetch that is cut short or too large leaves a mirror that recovers.
func TestTruncatedAndTooLarge(t *testing.T) {
	bare, work := gittest.Repository(t)
	noise := make([]byte, 1<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	sha := gittest.Push(t, work, "first", map[string]string{"a": string(noise)})
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	srv.Fail(gitserver.OnPack(gitserver.Truncate()))
	dir := t.TempDir()
	r, err := git.Mirror(dir, srv.URL+"/repo.git", git.MirrorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fetch(t.Context(), git.Ref{Branch: "main"}, nil); err == nil {
		t.Fatal("a truncated pack was taken")
	}
	srv.Fail(nil)
	_ = r.Close()
	small, err := git.Mirror(t.TempDir(), srv.URL+"/repo.git", git.MirrorOptions{MaxPack: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := small.Fetch(t.Context(), git.Ref{Branch: "main"}, nil); !errors.Is(err, remote.ErrTooLarge) {
		t.Errorf("a pack over the bound: %v", err)
	}
	_ = small.Close()
	r, err = git.Mirror(dir, srv.URL+"/repo.git", git.MirrorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if h := gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil); h.Commit != sha {
		t.Errorf("head = %s, want %s", h.Commit, sha)
	}
	if c, err := r.Commit(sha); err != nil || c.Subject != "first" || c.Author.Email != "ada@example.com" {
		t.Errorf("Commit = %+v, %v", c, err)
	}
}

func TestSSH(t *testing.T) {
	bare, work := gittest.Repository(t)
	first := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	identity, user := gitserver.Keys(t)
	hostPEM, hostKey := gitserver.Keys(t)
	addr := gitserver.SSH(t, hostPEM, user)
	url := "ssh://root@" + addr + bare
	known := gitserver.KnownHosts(addr, hostKey)
	auth, err := remote.AuthFromSecret(url, map[string][]byte{"identity": identity, "known_hosts": known})
	if err != nil {
		t.Fatal(err)
	}
	r := gittest.Mirror(t, url)
	if h := gittest.Fetch(t, r, git.Ref{Branch: "main"}, auth); h.Commit != first {
		t.Errorf("head = %s, want %s", h.Commit, first)
	}
	second := gittest.Push(t, work, "second", map[string]string{"a": "2"})
	gittest.Fetch(t, r, git.Ref{Branch: "main"}, auth)
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	c, err := write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: second, Author: sig, Committer: sig, Auth: auth})
	if err != nil {
		t.Fatal(err)
	}
	if got := gittest.Git(t, bare, "rev-parse", "main"); got != c.SHA {
		t.Errorf("main is at %s, want the revert %s", got, c.SHA)
	}
	// An unknown host and a changed key fail closed.
	_, other := gitserver.Keys(t)
	for what, known := range map[string][]byte{
		"unknown host": gitserver.KnownHosts("example.com:22", hostKey),
		"changed key":  gitserver.KnownHosts(addr, other),
	} {
		_, err := gittest.Mirror(t, url).Fetch(t.Context(), git.Ref{Branch: "main"}, &remote.Auth{Identity: identity, KnownHosts: known})
		if err == nil {
			t.Errorf("%s: the fetch went on", what)
		} else {
			t.Logf("%s: %v", what, err)
		}
	}
	if _, err := remote.AuthFromSecret(url, map[string][]byte{"identity": identity}); err == nil {
		t.Error("a secret without known_hosts was accepted")
	}
}
