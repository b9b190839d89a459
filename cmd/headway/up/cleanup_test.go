package up

import (
	"bytes"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"headway.dev/cmd/headway/datadir"
	"headway.dev/examples"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
)

// TestCleanupAsks: the repository goes only when somebody says so, and what a
// data dir on a file system of its own leaves is its mount point.
func TestCleanupAsks(t *testing.T) {
	// Rules and links are those of a network namespace that ends with the thread.
	goruntime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("data", dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount the data dir: %v", err)
		}
	}()
	repository := filepath.Join(dir, "repo.git")
	if err := write.Create(repository, "main", examples.Repo(), git.Signature{Name: "a", Email: "a@b"}, "begin"); err != nil {
		t.Fatal(err)
	}
	begin := func() {
		t.Helper()
		unlock, err := datadir.Lock(dir) // as up does before anything else
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
	begin()
	clean := func(answer string, yes bool) (string, error) {
		var out bytes.Buffer
		err := Cleanup{DataDir: dir, In: strings.NewReader(answer), Out: &out, CgroupRoot: "hwt-cleanup", Yes: yes}.Run(t.Context())
		return out.String(), err
	}
	for _, answer := range []string{"", "n\n", "\n", "yesterday\n"} {
		out, err := clean(answer, false)
		if err == nil || !strings.Contains(err.Error(), "--yes") || !strings.Contains(out, repository) {
			t.Errorf("the answer %q: %v, %q; want a refusal that names --yes and the repository", answer, err, out)
		}
		if datadir.Missing(repository) {
			t.Fatalf("the answer %q deletes the repository", answer)
		}
	}
	out, err := clean("yes\n", false)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "repo.git") || !strings.Contains(out, "mount point") {
		t.Errorf("cleanup says %q, want what it removed, and that the mount point stays", out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("cleanup leaves %v, %v", left, err)
	}

	// What somebody else has in a data dir is not cleanup's, and a directory
	// that never was a data dir is neither emptied nor closed to others.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	notes, mine := filepath.Join(dir, "pods.yaml"), filepath.Join(dir, "pki")
	for _, path := range []string{notes, mine} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := clean("", true); err == nil || !strings.Contains(err.Error(), "is no data dir of Headway") {
		t.Errorf("cleanup of a directory that is none of Headway's: %v, %q", err, out)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 || datadir.Missing(notes) || datadir.Missing(mine) {
		t.Errorf("a directory that is none of Headway's has mode %v, %v; notes gone: %v, pki gone: %v", info.Mode(), err, datadir.Missing(notes), datadir.Missing(mine))
	}
	if err := datadir.CheckNew(dir); err == nil || !strings.Contains(err.Error(), "has pods.yaml in it, which is not Headway's") {
		t.Errorf("up among somebody else's files: %v", err)
	}
	begin()
	if err := datadir.CheckNew(dir); err != nil {
		t.Errorf("up in a data dir into which somebody put a file later: %v", err)
	}
	out, err = clean("", true)
	if err != nil || !strings.Contains(out, "left pods.yaml, which is not") {
		t.Errorf("cleanup beside somebody else's files: %v, %q", err, out)
	}
	if datadir.Missing(notes) || !datadir.Missing(mine) || !datadir.Missing(filepath.Join(dir, "lock")) {
		t.Errorf("cleanup leaves pki: %v, lock: %v; somebody's notes are gone: %v", !datadir.Missing(mine), !datadir.Missing(filepath.Join(dir, "lock")), datadir.Missing(notes))
	}
}

// TestCleanupAfterRemoval: who removes the data dir by hand can clean up what ran
// there, once.
func TestCleanupAfterRemoval(t *testing.T) {
	goruntime.LockOSThread() // as above
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(datadir.RunDir(dir), "sandboxes"), 0o711); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"removed the pods, their network and rules, and their cgroups", "nothing to clean up"} {
		var out bytes.Buffer
		if err := (Cleanup{DataDir: dir, In: strings.NewReader(""), Out: &out, CgroupRoot: "hwt-removal"}).Run(t.Context()); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%v, %q; want %q", err, &out, want)
		}
		if !datadir.Missing(dir) || !datadir.Missing(datadir.RunDir(dir)) {
			t.Errorf("left: %v, %v", !datadir.Missing(dir), !datadir.Missing(datadir.RunDir(dir)))
		}
	}
}
