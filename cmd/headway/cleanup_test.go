package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"headway.dev/examples"
	"headway.dev/syncer/git"
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
	if err := git.Create(repository, "main", examples.Repo(), git.Signature{Name: "a", Email: "a@b"}, "begin"); err != nil {
		t.Fatal(err)
	}
	clean := func(answer string, yes bool) (string, error) {
		var out bytes.Buffer
		up := &upOptions{options: &options{dataDir: dir, in: strings.NewReader(answer), out: &out, err: &out}, cgroupRoot: "hwt-cleanup"}
		err := cleanup(t.Context(), up, false, yes)
		return out.String(), err
	}
	for _, answer := range []string{"", "n\n", "\n", "yesterday\n"} {
		out, err := clean(answer, false)
		if err == nil || !strings.Contains(err.Error(), "--yes") || !strings.Contains(out, repository) {
			t.Errorf("the answer %q: %v, %q; want a refusal that names --yes and the repository", answer, err, out)
		}
		if missing(repository) {
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
}

// TestDataIsClosed: neither the data dir nor the repository in it is open to
// other users, whatever umask who pushes has.
func TestDataIsClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := lockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data dir has mode %v, %v; want 0700", info.Mode(), err)
	}
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if _, err := lockDataDir(shared); err == nil || !strings.Contains(err.Error(), "all users share") {
		t.Errorf("a directory as /tmp: %v, want a refusal", err)
	}

	repository := filepath.Join(dir, "repo.git")
	if err := git.Create(repository, "main", examples.Repo(), git.Signature{Name: "a", Email: "a@b"}, "begin"); err != nil {
		t.Fatal(err)
	}
	script := "umask 022 && git clone -q \"$1\" work && cd work && echo x > new && git add new && git -c user.name=a -c user.email=a@b commit -qm new && git push -q"
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script, "sh", repository)
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(repository); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the repository has mode %v, %v; want 0700", info.Mode(), err)
	}
	tip := filepath.Join(repository, "refs", "heads", "main")
	if info, err := os.Stat(tip); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the pushed branch has mode %v, %v; want it closed", info.Mode(), err)
	}
}
