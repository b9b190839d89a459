package datadir

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/examples"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
)

// TestDataIsClosed: neither the data dir nor the repository in it is open to
// other users, whatever umask who pushes has.
func TestDataIsClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(dir)
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
	if _, err := Lock(shared); err == nil || !strings.Contains(err.Error(), "all users share") {
		t.Errorf("a directory as /tmp: %v, want a refusal", err)
	}

	repository := filepath.Join(dir, "repo.git")
	if err := write.Create(repository, "main", examples.Repo(), git.Signature{Name: "a", Email: "a@b"}, "begin"); err != nil {
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
