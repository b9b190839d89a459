package write_test

import (
	"path/filepath"
	"testing"
	"testing/fstest"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gittest"
)

// The git program writes what is pushed to the built-in repository to disk
// before the branch that names it.
func TestBuiltInRepositoryIsDurable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo.git")
	files := fstest.MapFS{"a.yaml": {Data: []byte("a")}}
	if err := write.Create(dir, "main", files, git.Signature{Name: "Bot", Email: "bot@example.com"}, "first"); err != nil {
		t.Fatal(err)
	}
	if got := gittest.Git(t, dir, "config", "core.fsync"); got != "all" {
		t.Errorf("core.fsync is %q", got)
	}
	gittest.Git(t, dir, "fsck", "--strict")
	// What its owner has set stays, and one without gets it.
	gittest.Git(t, dir, "config", "core.fsync", "none")
	if err := write.Durable(dir); err != nil || gittest.Git(t, dir, "config", "core.fsync") != "none" {
		t.Errorf("Durable: %v, core.fsync is %s", err, gittest.Git(t, dir, "config", "core.fsync"))
	}
	gittest.Git(t, dir, "config", "--unset", "core.fsync")
	if err := write.Durable(dir); err != nil || gittest.Git(t, dir, "config", "core.fsync") != "all" {
		t.Errorf("Durable: %v", err)
	}
}
