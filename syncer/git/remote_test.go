package git_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"headway.dev/syncer/git"
)

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
		maps.Copy(w.Header(), rec.Header())
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
	defer func() { _ = r.Close() }()
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
	dir, err := os.MkdirTemp("/root", ".headway-sshd-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatalf("run this test as root: %v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
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
		c, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", addr)
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
