package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headway.dev/cmd/headway/e2e"
)

// Bad input gets a clear error on stderr, a non-zero exit code and no change.
func TestRefusals(t *testing.T) {
	t.Parallel()
	c := e2e.New(t)
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(dir, "repo")
	for _, args := range [][]string{
		{"git", "init", "-q", "-b", "main", repo},
		{"sh", "-c", "cd " + repo + " && echo '{}' > a.yaml && git add . && git commit -q -m first"},
	} {
		if r := c.Run("", args...); r.Code != 0 {
			t.Fatalf("%v: %s", args, r.Stderr)
		}
	}
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{"unknown command", []string{"upp"}, []string{`unknown command "upp"`}},
		{"unknown flag", []string{"up", "--repos", "x"}, []string{"unknown flag: --repos"}},
		{"bad CIDR", []string{"up", "--service-cidr", "10.0.0.0"}, []string{"service-cidr", "10.0.0.0"}},
		{"bad listen address", []string{"up", "--listen", "nonsense"}, []string{"listen", "nonsense"}},
		{"overlapping ranges", []string{"up", "--service-cidr", "10.42.0.0/16", "--cluster-cidr", "10.42.0.0/16"}, []string{"overlap"}},
		{"grace period below the heartbeat", []string{"up", "--node-monitor-grace-period", "5s"}, []string{"node-monitor-grace-period", "5s", "at least 15s"}},
		{"no repository", []string{"up", "--repo", filepath.Join(dir, "missing")}, []string{"missing", "does not exist"}},
		{"not a repository", []string{"up", "--repo", empty}, []string{empty, "not a Git repository"}},
		{"no such branch", []string{"up", "--repo", repo, "--branch", "nope"}, []string{"nope", "main"}},
		{"no such path", []string{"up", "--repo", repo, "--path", "clusters/x"}, []string{"clusters/x"}},
		{"no containerd", []string{"up", "--containerd-address", filepath.Join(dir, "none.sock")}, []string{"none.sock", "containerd"}},
		{"no cluster", []string{"status"}, []string{"headway up"}},
		{"bad output format", []string{"status", "-o", "xml"}, []string{"must be one of"}},
		{"validate nothing", []string{"validate", filepath.Join(dir, "none")}, []string{"none"}},
		{"import nothing", []string{"image", "import", filepath.Join(dir, "none.tar")}, []string{"none.tar"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := c.Headway(tt.args...)
			if r.Code == 0 {
				t.Errorf("exit code 0, want an error\n%s%s", r.Stdout, r.Stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("stderr has no %q:\n%s", want, r.Stderr)
				}
			}
		})
	}
	if r := c.Run("", "setpriv", "--reuid=65534", "--clear-groups", e2e.Binary(), "up", "--data-dir", filepath.Join(dir, "data")); r.Code == 0 || !strings.Contains(r.Stderr, "root") {
		t.Errorf("up without root: exit code %d\n%s", r.Code, r.Stderr)
	}
	c.Traces.None(c.DataDir)
}

// A data directory serves one process, a port one listener.
func TestInUse(t *testing.T) {
	t.Parallel()
	// Without pods there is no pod network, which would be another reason.
	c := e2e.Start(t, "--controllers=*,-deployment")
	if r := c.Headway("up", "--listen", "127.0.0.1:7443"); r.Code == 0 || !strings.Contains(r.Stderr, "in use by another process") {
		t.Errorf("a second headway on the data dir: exit code %d\n%s", r.Code, r.Stderr)
	}
	other := filepath.Join(t.TempDir(), "data")
	r := c.Run("", e2e.Binary(), "up", "--data-dir", other, "--listen", "127.0.0.1:6443")
	if r.Code == 0 || !strings.Contains(r.Stderr, "address already in use") {
		t.Errorf("a second headway on the port: exit code %d\n%s", r.Code, r.Stderr)
	}
	c.Traces.None(other)
}

// A data directory that a newer version wrote is refused and left as it is.
func TestNewerStore(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	c.Program.Stop()
	file := filepath.Join(c.DataDir, "store.db")
	store, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The key and the value of the format version, as they stand in the file.
	ours, newer := []byte("format2"), []byte("format3")
	if !bytes.Contains(store, ours) {
		t.Fatalf("the store does not hold %q", ours)
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(bytes.ReplaceAll(store, ours, newer))
	before := hashes(t, c)
	r := c.Headway("up", "--node-name", "node-1", "--cgroup-root", "none")
	if r.Code != 1 || !strings.Contains(r.Stderr, "newer version") || !strings.Contains(r.Stderr, "use another data directory") {
		t.Errorf("up on a newer store: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if diff := cmp.Diff(before, hashes(t, c)); diff != "" {
		t.Errorf("the refused start changed files (-before +after):\n%s", diff)
	}
	write(store)
	c.Up()
	readyPods(t, c, 3)
}

// hashes lists the data dir's files with what they hold, without containerd's and
// the lock.
func hashes(t *testing.T, c *e2e.Cluster) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(c.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(c.DataDir, path)
		if err != nil {
			return err
		}
		switch name {
		case "runtime":
			return fs.SkipDir
		case "lock": // names the process that holds it
			return nil
		}
		found[name] = entry.Type().String()
		if entry.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[name] = fmt.Sprintf("%x", sha256.Sum256(content))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
