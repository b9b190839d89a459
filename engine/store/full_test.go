package store_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/engine/store"
	"headway.dev/engine/store/reserve"
	"headway.dev/manifests/model/change"
)

// smallDisk is a directory with a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root to mount a small file system: run the tests as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// Somebody else fills the disk: new objects are refused in words, changes and
// deletions go on for as long as it lasts, and with space again so does all.
func TestReserve(t *testing.T) {
	dir := smallDisk(t, "16m")
	path := filepath.Join(dir, "db")
	s := open(t, store.Options{Path: path, Reserve: 4 << 20})
	create := func(name string) error {
		_, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{put(name, strings.Repeat("v", 50_000))}})
		return err
	}
	if err := create("first"); err != nil {
		t.Fatal(err)
	}
	hog := fillDisk(t, filepath.Join(dir, "hog"))
	var refused error
	made := 0
	for ; refused == nil; made++ {
		if made == 1000 {
			t.Fatal("creations are not refused")
		}
		refused = create(fmt.Sprint("object-", made))
	}
	var status apierrors.APIStatus
	if !errors.As(refused, &status) || status.Status().Code != 507 || status.Status().Reason != reserve.ReasonInsufficientStorage {
		t.Errorf("a creation on the full disk: %v, want 507 InsufficientStorage", refused)
	}
	// Ten times as much as the reserve has: what is replaced makes room.
	for i := range 1000 {
		if _, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{put("first", fmt.Sprint(i, strings.Repeat("w", 50_000)))}}); err != nil {
			t.Fatalf("change %d on the full disk: %v", i, err)
		}
	}
	for i := range made - 1 {
		if _, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{put(fmt.Sprint("object-", i), "")}}); err != nil {
			t.Fatalf("deletion %d on the full disk: %v", i, err)
		}
	}
	if err := create("still"); err == nil {
		t.Error("a creation succeeds although the reserve is not there again")
	}
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for create("after") != nil {
		if time.Now().After(deadline) {
			t.Fatal("creations are refused although there is space again")
		}
	}
	want := values(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Path: path, Reserve: 4 << 20})
	wantValues(t, s, want)
	if err := s.Close(); err != nil { // before the file system goes
		t.Fatal(err)
	}
}

// fillDisk writes a file until the disk is full.
func fillDisk(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A full disk refuses writes and changes nothing; with space again, the store
// goes on, and all that was acknowledged is there after opening it again.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, "1m")
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
