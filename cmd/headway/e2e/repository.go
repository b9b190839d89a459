package e2e

import (
	"context"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Clone is a clone of the repository that the cluster follows, to work in.
type Clone struct {
	Dir  string
	node *Node
}

// Git runs git in the clone and returns its output without the last newline.
func (w *Clone) Git(args ...string) string {
	w.node.tb.Helper()
	return strings.TrimSuffix(w.node.must(w.node.Run("", append([]string{"git", "-C", w.Dir}, args...)...), "git", args), "\n")
}

// Write writes a file of the clone.
func (w *Clone) Write(name, content string) {
	w.node.tb.Helper()
	path := filepath.Join(w.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.node.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.node.tb.Fatal(err)
	}
}

// Replace replaces old, which must be there, in a file of the clone.
func (w *Clone) Replace(name, old, replacement string) {
	w.node.tb.Helper()
	content, err := os.ReadFile(filepath.Join(w.Dir, name))
	if err != nil {
		w.node.tb.Fatal(err)
	}
	if !strings.Contains(string(content), old) {
		w.node.tb.Fatalf("%s does not hold %q:\n%s", name, old, content)
	}
	w.Write(name, strings.ReplaceAll(string(content), old, replacement))
}

// Commit commits everything in the clone and returns the commit's hash.
func (w *Clone) Commit(message string) string {
	w.node.tb.Helper()
	w.Git("add", "--all")
	w.Git("commit", "-q", "-m", message)
	return w.Git("rev-parse", "HEAD")
}

// Push commits and pushes, and returns the commit's hash.
func (w *Clone) Push(message string) string {
	w.node.tb.Helper()
	commit := w.Commit(message)
	w.Git("push", "-q", "origin", "HEAD")
	return commit
}

// Remote is the repository that the cluster follows.
type Remote struct {
	Dir  string
	node *Node
}

// ServeHTTP serves the remote repository with Git's own HTTP backend at
// address, to those who give the user and the password, until stop is called.
func (r *Remote) ServeHTTP(address, user, password string) (stop func()) {
	r.node.tb.Helper()
	backend := r.backend(filepath.Dir(r.Dir))
	return r.node.serve(address, func(w http.ResponseWriter, request *http.Request) {
		if u, p, _ := request.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, request)
	})
}

// ServeGit serves the repositories below root to everybody.
func (r *Remote) ServeGit(address, root string) (stop func()) {
	r.node.tb.Helper()
	return r.node.serve(address, r.backend(root).ServeHTTP)
}

func (r *Remote) backend(root string) http.Handler {
	r.node.tb.Helper()
	return &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(r.node.must(r.node.Run("", "git", "--exec-path"), "git", nil)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ada", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
}

// ServeSSH serves the remote repository with OpenSSH's server at port of
// 127.0.0.1, and returns the private key to log in with and the known_hosts.
func (r *Remote) ServeSSH(port string) (identity, knownHosts string) {
	r.node.tb.Helper()
	// The server refuses files below a directory that others may write to.
	dir, err := os.MkdirTemp("/root", ".headway-sshd-")
	if err != nil {
		r.node.tb.Fatal(err)
	}
	r.node.tb.Cleanup(func() { os.RemoveAll(dir) })
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			r.node.tb.Fatal(err)
		}
		return string(content)
	}
	for _, key := range []string{"host", "user"} {
		command(r.node.tb, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", filepath.Join(dir, key))
	}
	config := strings.ReplaceAll("ListenAddress 127.0.0.1\nHostKey DIR/host\nAuthorizedKeysFile DIR/user.pub\nPidFile none\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n", "DIR", dir)
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600); err != nil {
		r.node.tb.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		r.node.tb.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), "nsenter", "--net=/run/netns/"+r.node.id, "/usr/sbin/sshd", "-D", "-e", "-p", port, "-f", filepath.Join(dir, "config"))
	log := &output{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		r.node.tb.Fatal(err)
	}
	r.node.tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if r.node.tb.Failed() {
			r.node.tb.Logf("--- sshd's output:\n%s", log)
		}
	})
	r.node.Eventually(10*time.Second, "sshd answers", func() error {
		conn, err := r.node.dial(context.Background(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	return read("user"), "[127.0.0.1]:" + port + " " + read("host.pub")
}
