package e2e

import (
	"context"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"headway.dev/examples"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
)

// listenIn listens in the network namespace.
func listenIn(tb testing.TB, name, address string) net.Listener {
	tb.Helper()
	type result struct {
		listener net.Listener
		err      error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: see dialIn
		ns, err := netns.GetFromName(name)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		done <- result{listener, err}
	}()
	r := <-done
	if r.err != nil {
		tb.Fatalf("listen on %s in network namespace %s: %v", address, name, r.err)
	}
	return r.listener
}

// NewRemote makes a bare repository from the example beside the data dir, for
// a server to serve, and clones it.
func (c *Cluster) NewRemote() {
	c.tb.Helper()
	c.Remote = filepath.Join(filepath.Dir(c.DataDir), "remote.git")
	if err := write.Create(c.Remote, "main", examples.Repo(), git.Signature{Name: "Ada", Email: "ada@example.com"}, "Start"); err != nil {
		c.tb.Fatal(err)
	}
	c.CloneRemote()
}

// ServeHTTP serves the remote repository with Git's own HTTP backend at
// address, to those who give the user and the password, until stop is called.
func (c *Cluster) ServeHTTP(address, user, password string) (stop func()) {
	c.tb.Helper()
	backend := c.backend(filepath.Dir(c.Remote))
	return c.serve(address, func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	})
}

// ServeGit serves the repositories below root to everybody.
func (c *Cluster) ServeGit(address, root string) (stop func()) {
	c.tb.Helper()
	return c.serve(address, c.backend(root).ServeHTTP)
}

func (c *Cluster) backend(root string) http.Handler {
	c.tb.Helper()
	return &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(c.must(c.Run("", "git", "--exec-path"), "git", nil)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ada", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
}

func (c *Cluster) serve(address string, handler http.HandlerFunc) (stop func()) {
	c.tb.Helper()
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: handler}
	listener := listenIn(c.tb, c.id, address)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	stop = func() {
		_ = server.Close()
		<-served
	}
	c.tb.Cleanup(stop)
	return stop
}

// ServeSSH serves the remote repository with OpenSSH's server at port of
// 127.0.0.1, and returns the private key to log in with and the known_hosts.
func (c *Cluster) ServeSSH(port string) (identity, knownHosts string) {
	c.tb.Helper()
	// The server refuses files below a directory that others may write to.
	dir, err := os.MkdirTemp("/root", ".headway-sshd-")
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() { os.RemoveAll(dir) })
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			c.tb.Fatal(err)
		}
		return string(content)
	}
	for _, key := range []string{"host", "user"} {
		command(c.tb, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", filepath.Join(dir, key))
	}
	config := strings.ReplaceAll("ListenAddress 127.0.0.1\nHostKey DIR/host\nAuthorizedKeysFile DIR/user.pub\nPidFile none\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n", "DIR", dir)
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		c.tb.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), "nsenter", "--net=/run/netns/"+c.id, "/usr/sbin/sshd", "-D", "-e", "-p", port, "-f", filepath.Join(dir, "config"))
	log := &output{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if c.tb.Failed() {
			c.tb.Logf("--- sshd's output:\n%s", log)
		}
	})
	c.Eventually(10*time.Second, "sshd answers", func() error {
		conn, err := dialIn(c.id)(context.Background(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	return read("user"), "[127.0.0.1]:" + port + " " + read("host.pub")
}
