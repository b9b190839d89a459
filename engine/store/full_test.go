package store_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"headway.dev/engine/store"
	"headway.dev/manifests/change"
)

// A full disk refuses writes and changes nothing; with space again, the store
// goes on, and all that was acknowledged is there after opening it again.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root to mount a small file system: run the tests as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	path := filepath.Join(dir, "db")
	s := open(t, store.Options{Path: path})
	want := map[string]string{}
	write := func(name string) error {
		value := strings.Repeat(name[:1], 8000)
		_, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{put(name, value), put("same", name)}})
		if err == nil {
			want[name], want["same"] = value, name
		}
		return err
	}
	var err error
	for i := 0; err == nil; i++ {
		if i == 1000 {
			t.Fatal("the disk does not get full")
		}
		err = write(fmt.Sprint("a", i))
	}
	t.Logf("after %d objects: %v", len(want), err)
	if s.Err() == nil {
		t.Error("Err = nil with a full disk")
	}
	for i := range 3 {
		if err := write(fmt.Sprint("b", i)); err == nil {
			t.Error("a write to the full disk succeeded")
		}
	}
	if !maps.Equal(want, values(s)) {
		t.Error("a refused write changed what readers see")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := write(fmt.Sprint("c", i)); err != nil {
			t.Fatalf("with space again: %v", err)
		}
	}
	if s.Err() != nil {
		t.Errorf("Err = %v with space again", s.Err())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Path: path})
	wantValues(t, s, want)
	if err := s.Close(); err != nil { // before the file system goes
		t.Fatal(err)
	}
}
