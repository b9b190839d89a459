package git_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"golang.org/x/crypto/ssh"

	"headway.dev/syncer/git"
)

// run runs the git program.
func run(tb testing.TB, dir string, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(context.Background(), "git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes a bare repository and a clone of it.
func repository(tb testing.TB) (bare, work string) {
	tb.Helper()
	bare, work = filepath.Join(tb.TempDir(), "repo.git"), filepath.Join(tb.TempDir(), "work")
	run(tb, "", "init", "-q", "--bare", "-b", "main", bare)
	run(tb, bare, "config", "http.receivepack", "true")
	run(tb, "", "clone", "-q", bare, work)
	run(tb, work, "checkout", "-q", "-b", "main")
	return bare, work
}

// push commits the files (an empty content removes one) and pushes them.
func push(tb testing.TB, work, subject string, files map[string]string) string {
	tb.Helper()
	for name, data := range files {
		path := filepath.Join(work, name)
		if data == "" {
			if err := os.Remove(path); err != nil {
				tb.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	run(tb, work, "add", "-A")
	run(tb, work, "commit", "-q", "--allow-empty", "-m", subject)
	run(tb, work, "push", "-q", "origin", "HEAD:main")
	return run(tb, work, "rev-parse", "HEAD")
}

func open(tb testing.TB, path string) *git.Repository {
	tb.Helper()
	r, err := git.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

func mirror(tb testing.TB, url string) *git.Repository {
	tb.Helper()
	r, err := git.Mirror(tb.TempDir(), url, git.MirrorOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

func fetch(tb testing.TB, r *git.Repository, ref git.Ref, auth *git.Auth) git.Head {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	h, err := r.Fetch(ctx, ref, auth)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func TestTree(t *testing.T) {
	bare, work := repository(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(work, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	sha := push(t, work, "first", map[string]string{"a.yaml": "a", "dir/b.yaml": "b", "dir.yaml": "c", "logo.png": "p"})
	r := open(t, bare)
	if h := fetch(t, r, git.Ref{Branch: "main"}, nil); h.Revision() != "main@sha1:"+sha {
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
	run(t, bare, "gc", "-q", "--prune=now")
	if data, err := fs.ReadFile(tree, "dir/b.yaml"); err != nil || string(data) != "b" {
		t.Errorf("after gc: %q, %v", data, err)
	}
	// More objects than a push keeps loose come as a pack.
	for i := range 120 {
		run(t, work, "commit", "-q", "--allow-empty", "-m", fmt.Sprint("commit ", i))
	}
	push(t, work, "last", map[string]string{"a.yaml": "new"})
	if h := fetch(t, r, git.Ref{Branch: "main"}, nil); h.Commit != run(t, work, "rev-parse", "HEAD") {
		t.Errorf("after another push: %s", h.Commit)
	}
}

func TestRefs(t *testing.T) {
	bare, work := repository(t)
	first := push(t, work, "first", map[string]string{"a": "1"})
	run(t, work, "tag", "-a", "-m", "release", "v1.2.0")
	second := push(t, work, "second", map[string]string{"a": "2"})
	run(t, work, "tag", "1.3.0-rc.1")
	run(t, work, "push", "-q", "--tags", "origin", "HEAD:refs/heads/feature/x", "HEAD:refs/pull/7/head")
	srv := serve(t, filepath.Dir(bare), "", "")
	for name, r := range map[string]*git.Repository{"local": open(t, bare), "http": mirror(t, srv.URL+"/repo.git")} {
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
			if got := fetch(t, r, c.ref, nil).Revision(); got != c.want {
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
		if ok, err := r.IsAncestor(first, second); !ok || err != nil {
			t.Errorf("%s: first is no ancestor of second: %v", name, err)
		}
		if ok, err := r.IsAncestor(second, first); ok || err != nil {
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
	run(t, "", "init", "-q", "--bare", bare)
	if _, err := open(t, bare).Fetch(t.Context(), git.Ref{Branch: "main"}, nil); !errors.Is(err, git.ErrEmpty) {
		t.Errorf("Fetch of an empty repository: %v", err)
	}
	srv := serve(t, filepath.Dir(bare), "", "")
	if _, err := mirror(t, srv.URL+"/empty.git").Fetch(t.Context(), git.Ref{Branch: "main"}, nil); !errors.Is(err, git.ErrEmpty) {
		t.Errorf("Fetch of an empty remote repository: %v", err)
	}
	if _, err := mirror(t, srv.URL+"/none.git").Fetch(t.Context(), git.Ref{Branch: "main"}, nil); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("Fetch of a missing repository: %v", err)
	}
}

// serve serves the repositories below root with Git's own HTTP backend.
func serve(tb testing.TB, root, user, password string) *httptest.Server {
	tb.Helper()
	exe := strings.TrimSpace(run(tb, "", "--exec-path")) + "/git-http-backend"
	backend := &cgi.Handler{Path: exe, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ada", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		if user != "" && (u != user || p != password) && r.Header.Get("Authorization") != "Bearer "+password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	tb.Cleanup(srv.Close)
	return srv
}

func TestHTTPAuth(t *testing.T) {
	bare, work := repository(t)
	sha := push(t, work, "first", map[string]string{"a": "1"})
	srv := serve(t, filepath.Dir(bare), "ada", "secret")
	url := srv.URL + "/repo.git"
	for _, data := range []map[string][]byte{
		{"username": []byte("ada"), "password": []byte("secret")},
		{"bearerToken": []byte("secret\n")},
	} {
		auth, err := git.AuthFromSecret(url, data)
		if err != nil {
			t.Fatal(err)
		}
		if h := fetch(t, mirror(t, url), git.Ref{Branch: "main"}, auth); h.Commit != sha {
			t.Errorf("head = %s, want %s", h.Commit, sha)
		}
	}
	_, err := mirror(t, url).Fetch(t.Context(), git.Ref{Branch: "main"}, &git.Auth{Username: "ada", Password: "wrong-password"})
	if err == nil || !strings.Contains(err.Error(), "check the credentials") || strings.Contains(err.Error(), "wrong-password") {
		t.Errorf("wrong password: %v", err)
	}
}

// A fetch that is cut short or too large leaves a mirror that recovers.
func TestTruncatedAndTooLarge(t *testing.T) {
	bare, work := repository(t)
	noise := make([]byte, 1<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	sha := push(t, work, "first", map[string]string{"a": string(noise)})
	good := serve(t, filepath.Dir(bare), "", "")
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		good.Config.Handler.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		body := rec.Body.Bytes()
		if strings.HasSuffix(r.URL.Path, "git-upload-pack") && len(body) > 1000 {
			body = body[:len(body)/2]
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
	}))
	defer cut.Close()
	dir := t.TempDir()
	r, err := git.Mirror(dir, cut.URL+"/repo.git", git.MirrorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fetch(t.Context(), git.Ref{Branch: "main"}, nil); err == nil {
		t.Fatal("a truncated pack was taken")
	}
	_ = r.Close()
	small, err := git.Mirror(t.TempDir(), good.URL+"/repo.git", git.MirrorOptions{MaxPack: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := small.Fetch(t.Context(), git.Ref{Branch: "main"}, nil); !errors.Is(err, git.ErrTooLarge) {
		t.Errorf("a pack over the bound: %v", err)
	}
	_ = small.Close()
	r, err = git.Mirror(dir, good.URL+"/repo.git", git.MirrorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if h := fetch(t, r, git.Ref{Branch: "main"}, nil); h.Commit != sha {
		t.Errorf("head = %s, want %s", h.Commit, sha)
	}
	if c, err := r.Commit(sha); err != nil || c.Subject != "first" || c.Author.Email != "ada@example.com" {
		t.Errorf("Commit = %+v, %v", c, err)
	}
}

// keys makes a private key in PEM and its public half.
func keys(tb testing.TB) ([]byte, ssh.PublicKey) {
	tb.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		tb.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(block), key
}

// sshd runs OpenSSH's server for one user key; it returns its address.
func sshd(tb testing.TB, hostKey []byte, user ssh.PublicKey) string {
	tb.Helper()
	// The server refuses files below a directory that others may write to.
	dir, err := os.MkdirTemp("/root", ".headway-sshd-")
	if err != nil {
		tb.Fatalf("run this test as root: %v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	files := map[string]string{
		"host":       string(hostKey),
		"authorized": string(ssh.MarshalAuthorizedKey(user)),
		"config": fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s/authorized\nPidFile none\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n",
			port, dir, dir),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), "/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "config"))
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if tb.Failed() {
			tb.Logf("sshd: %s", log.String())
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			tb.Fatalf("sshd does not answer: %v", err)
		}
	}
}

func TestSSH(t *testing.T) {
	bare, work := repository(t)
	first := push(t, work, "first", map[string]string{"a": "1"})
	identity, user := keys(t)
	hostPEM, hostKey := keys(t)
	addr := sshd(t, hostPEM, user)
	host, port, _ := net.SplitHostPort(addr)
	url := "ssh://root@" + addr + bare
	known := fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(hostKey))
	auth, err := git.AuthFromSecret(url, map[string][]byte{"identity": identity, "known_hosts": []byte(known)})
	if err != nil {
		t.Fatal(err)
	}
	r := mirror(t, url)
	if h := fetch(t, r, git.Ref{Branch: "main"}, auth); h.Commit != first {
		t.Errorf("head = %s, want %s", h.Commit, first)
	}
	second := push(t, work, "second", map[string]string{"a": "2"})
	fetch(t, r, git.Ref{Branch: "main"}, auth)
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	c, err := r.Revert(t.Context(), git.RevertOptions{Branch: "main", Commit: second, Author: sig, Committer: sig, Auth: auth})
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, bare, "rev-parse", "main"); got != c.SHA {
		t.Errorf("main is at %s, want the revert %s", got, c.SHA)
	}
	// An unknown host and a changed key fail closed.
	_, other := keys(t)
	for what, known := range map[string]string{
		"unknown host": "example.com " + string(ssh.MarshalAuthorizedKey(hostKey)),
		"changed key":  fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(other)),
	} {
		_, err := mirror(t, url).Fetch(t.Context(), git.Ref{Branch: "main"}, &git.Auth{Identity: identity, KnownHosts: []byte(known)})
		if err == nil {
			t.Errorf("%s: the fetch went on", what)
		} else {
			t.Logf("%s: %v", what, err)
		}
	}
	if _, err := git.AuthFromSecret(url, map[string][]byte{"identity": identity}); err == nil {
		t.Error("a secret without known_hosts was accepted")
	}
}

func TestRevert(t *testing.T) {
	bare, work := repository(t)
	push(t, work, "first", map[string]string{"a": "1", "dir/b": "1", "dir/c": "1"})
	second := push(t, work, "second", map[string]string{"a": "2", "dir/b": "", "new/d": "2"})
	// Another commit in between, to other files.
	push(t, work, "third", map[string]string{"dir/c": "3"})
	// A merge commit, which is reverted against its first parent.
	run(t, work, "checkout", "-q", "-b", "topic", "HEAD~1")
	run(t, work, "commit", "-q", "--allow-empty", "-m", "topic")
	if err := os.WriteFile(filepath.Join(work, "topic"), []byte("t"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, work, "add", "-A")
	run(t, work, "commit", "-q", "-m", "topic file")
	run(t, work, "checkout", "-q", "main")
	run(t, work, "merge", "-q", "--no-ff", "-m", "merge topic", "topic")
	run(t, work, "push", "-q", "origin", "main")
	merge := run(t, work, "rev-parse", "HEAD")

	srv := serve(t, filepath.Dir(bare), "", "")
	r := mirror(t, srv.URL+"/repo.git")
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	revert := func(sha string) (git.Commit, error) {
		return r.Revert(t.Context(), git.RevertOptions{Branch: "main", Commit: sha, Author: sig, Committer: sig})
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
		run(t, work, append(args, sha)...)
		// The git program makes the same tree and the same message.
		for _, format := range []string{"%T", "%B"} {
			if got, want := run(t, bare, "log", "-1", "--format="+format, c.SHA), run(t, work, "log", "-1", "--format="+format, "HEAD"); got != want {
				t.Errorf("revert of %s: %s is %q, git's is %q", sha, format, got, want)
			}
		}
	}
	run(t, bare, "fsck", "--strict")
	before := run(t, bare, "rev-parse", "main")
	if _, err := revert(second); !errors.Is(err, git.ErrNothingToRevert) {
		t.Errorf("reverting again: %v", err)
	}
	root := run(t, bare, "rev-list", "--max-parents=0", "main")
	if _, err := revert(root); err == nil {
		t.Error("the first commit was reverted")
	}
	if got := run(t, bare, "rev-parse", "main"); got != before {
		t.Errorf("main moved to %s", got)
	}
	// A branch that is checked out is not moved behind its working tree.
	var checkedOut *git.CheckedOutError
	run(t, work, "reset", "-q", "--hard", second)
	if _, err := open(t, work).Revert(t.Context(), git.RevertOptions{Branch: "main", Commit: second, Author: sig, Committer: sig}); !errors.As(err, &checkedOut) {
		t.Errorf("revert in a working tree: %v", err)
	}
}

// Reverts and pushes at the same time: nothing is lost.
func TestRevertWhileThePushersPush(t *testing.T) {
	bare, work := repository(t)
	push(t, work, "first", map[string]string{"a": "1"})
	second := push(t, work, "second", map[string]string{"a": "2"})
	r := open(t, bare)
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
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
	<-time.After(50 * time.Millisecond)
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	c, err := r.Revert(t.Context(), git.RevertOptions{Branch: "main", Commit: second, Author: sig, Committer: sig})
	close(stop)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	run(t, bare, "merge-base", "--is-ancestor", c.SHA, "main")
	run(t, bare, "fsck", "--strict")
	if got := run(t, bare, "show", "main:a"); got != "1" {
		t.Errorf("a = %q after the revert", got)
	}
}

func TestWatch(t *testing.T) {
	bare, work := repository(t)
	push(t, work, "first", map[string]string{"a": "1"})
	r := open(t, bare)
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
		"push":          func() { push(t, work, "more", map[string]string{"a": fmt.Sprint(time.Now())}) },
		"nested branch": func() { run(t, work, "push", "-q", "origin", "HEAD:refs/heads/team/one/x") },
		"packed refs":   func() { run(t, bare, "pack-refs", "--all") },
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

// sign replaces the head of main by a copy that the key signed.
func sign(tb testing.TB, bare string, key *openpgp.Entity) string {
	tb.Helper()
	raw := run(tb, bare, "cat-file", "commit", "main") + "\n"
	var sig bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&sig, key, strings.NewReader(raw), nil); err != nil {
		tb.Fatal(err)
	}
	header, body, _ := strings.Cut(raw, "\n\n")
	signed := header + "\ngpgsig " + strings.ReplaceAll(strings.TrimSpace(sig.String()), "\n", "\n ") + "\n\n" + body
	cmd := exec.CommandContext(context.Background(), "git", "hash-object", "-t", "commit", "-w", "--stdin")
	cmd.Dir, cmd.Stdin = bare, strings.NewReader(signed)
	out, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	sha := strings.TrimSpace(string(out))
	run(tb, bare, "update-ref", "refs/heads/main", sha)
	return sha
}

func TestVerify(t *testing.T) {
	bare, work := repository(t)
	unsigned := push(t, work, "first", map[string]string{"a": "1"})
	ada, err := openpgp.NewEntity("Ada", "", "ada@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	eve, err := openpgp.NewEntity("Eve", "", "eve@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	public := func(e *openpgp.Entity) []byte {
		var buf bytes.Buffer
		w, err := armor.Encode(&buf, openpgp.PublicKeyType, nil)
		if err == nil {
			err = errors.Join(e.Serialize(w), w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	signed := sign(t, bare, ada)
	r := open(t, bare)
	who, err := r.Verify(signed, map[string][]byte{"eve.asc": public(eve), "ada.asc": public(ada)})
	if err != nil || !strings.Contains(who, "Ada") {
		t.Errorf("Verify = %q, %v", who, err)
	}
	if _, err := r.Verify(signed, map[string][]byte{"eve.asc": public(eve)}); !errors.Is(err, git.ErrUnsigned) {
		t.Errorf("signed by a key that is not trusted: %v", err)
	}
	if _, err := r.Verify(unsigned, map[string][]byte{"ada.asc": public(ada)}); !errors.Is(err, git.ErrUnsigned) {
		t.Errorf("unsigned: %v", err)
	}
	if _, err := r.Verify(signed, nil); err == nil {
		t.Error("no trusted keys, and verified")
	}
}
