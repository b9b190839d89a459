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
