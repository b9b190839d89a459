package headwaytest

import (
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Repository is a bare repository and a clone.
type Repository struct {
	t          *testing.T
	Bare, Work string
}

// NewRepository makes a repository whose branch main has the files.
func NewRepository(t *testing.T, files map[string]string) *Repository {
	t.Helper()
	r := &Repository{t: t, Bare: filepath.Join(t.TempDir(), "repo.git"), Work: filepath.Join(t.TempDir(), "work")}
	r.Git("", "init", "-q", "--bare", "-b", "main", r.Bare)
	r.Git("", "clone", "-q", r.Bare, r.Work)
	r.Git(r.Work, "checkout", "-q", "-b", "main")
	r.Push("main", files)
	return r
}

// Git runs the git program in dir, and returns what it prints.
func (r *Repository) Git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Push commits the files on top of what is checked out, and pushes to a ref.
func (r *Repository) Push(ref string, files map[string]string) {
	r.t.Helper()
	r.write(files)
	r.Git(r.Work, "add", "-A")
	r.Git(r.Work, "commit", "-q", "-m", "change")
	r.Git(r.Work, "push", "-q", "origin", "HEAD:"+ref)
}

// write puts files into the clone; empty contents remove one.
func (r *Repository) write(files map[string]string) {
	r.t.Helper()
	WriteFiles(r.t, r.Work, files)
}

// WriteFiles writes files below dir; an empty content removes the file.
func WriteFiles(tb testing.TB, dir string, files map[string]string) {
	tb.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
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
}

// ServeGit serves the repositories below root with Git's own backend, to the
// users whom allow admits.
func ServeGit(t *testing.T, root string, allow func(*http.Request) bool) string {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Stderr: io.Discard,
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ada", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*", "GIT_CONFIG_KEY_1=http.receivepack", "GIT_CONFIG_VALUE_1=true",
		},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if allow != nil && !allow(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}
