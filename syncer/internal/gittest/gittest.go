// Package gittest creates repositories, with the git program, for tests of the
// packages of git.
package gittest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/internal/gitserver"
)

// Git runs the git program.
func Git(tb testing.TB, dir string, args ...string) string {
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

// Repository creates a bare repository and a clone of it.
func Repository(tb testing.TB) (bare, work string) {
	tb.Helper()
	bare, work = filepath.Join(tb.TempDir(), "repo.git"), filepath.Join(tb.TempDir(), "work")
	Git(tb, "", "init", "-q", "--bare", "-b", "main", bare)
	Git(tb, bare, "config", "http.receivepack", "true")
	Git(tb, "", "clone", "-q", bare, work)
	Git(tb, work, "checkout", "-q", "-b", "main")
	return bare, work
}

// Push commits the files (an empty content removes one) and pushes them.
func Push(tb testing.TB, work, subject string, files map[string]string) string {
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
	Git(tb, work, "add", "-A")
	Git(tb, work, "commit", "-q", "--allow-empty", "-m", subject)
	Git(tb, work, "push", "-q", "origin", "HEAD:main")
	return Git(tb, work, "rev-parse", "HEAD")
}

// Open opens a repository until the test ends.
func Open(tb testing.TB, path string) *git.Repository {
	tb.Helper()
	r, err := git.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

// Mirror makes an empty mirror of a remote.
func Mirror(tb testing.TB, url string) *git.Repository {
	tb.Helper()
	r, err := git.Mirror(tb.TempDir(), url, git.MirrorOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

// Fetch fetches what ref points at.
func Fetch(tb testing.TB, r *git.Repository, ref git.Ref, auth *remote.Auth) git.Head {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	h, err := r.Fetch(ctx, ref, auth)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// Serve serves the repositories below root to requests with the password.
func Serve(tb testing.TB, root, user, password string) *gitserver.Server {
	tb.Helper()
	srv := gitserver.New(tb, root)
	srv.Require(user, password)
	return srv
}

// Auth reads the data of a Secret.
func Auth(tb testing.TB, url string, data map[string]string) *remote.Auth {
	tb.Helper()
	secret := map[string][]byte{}
	for k, v := range data {
		secret[k] = []byte(v)
	}
	a, err := remote.AuthFromSecret(url, secret)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// ProcessorTime returns the processor time that this process has used.
func ProcessorTime() (time.Duration, error) {
	var use syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()), err
}
