package store_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
)

// onDisk is what a process would find that starts after a crash at this
// moment: the content of a copy of the file, nil if the copy was torn.
func onDisk(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Path: copied})
	if err != nil {
		t.Logf("copy of the file in use: %v", err)
		return nil
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	return values(s)
}

// Wait writes are in the file when they are acknowledged, Behind writes only
// in memory; with the next Wait write, all that was before it is in the file.
func TestDurability(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, store.Options{Path: path, FlushDelay: time.Hour})
	check := func(want map[string]string) {
		t.Helper()
		if got := onDisk(t, path); !maps.Equal(got, want) {
			t.Errorf("on disk = %v, want %v", got, want)
		}
	}
	commit(t, s, change.Wait, put("a", "1"))
	check(map[string]string{"a": "1"})
	commit(t, s, change.Behind, put("b", "1"), put("a", "2"))
	commit(t, s, change.Behind, put("b", "2"))
	wantValues(t, s, map[string]string{"a": "2", "b": "2"})
	check(map[string]string{"a": "1"})
	commit(t, s, change.Wait, put("c", "1"))
	check(map[string]string{"a": "2", "b": "2", "c": "1"})
	commit(t, s, change.Behind, put("b", ""), put("d", "1"), put("d", ""))
	check(map[string]string{"a": "2", "b": "2", "c": "1"})
	commit(t, s, change.Wait, put("b", "3"))
	check(map[string]string{"a": "2", "b": "3", "c": "1"})
}

// Behind writes come into the file soon, without another write.
func TestFlush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, store.Options{Path: path, FlushDelay: time.Millisecond})
	commit(t, s, change.Behind, put("a", "1"))
	deadline := time.Now().Add(20 * time.Second)
	for !maps.Equal(onDisk(t, path), map[string]string{"a": "1"}) {
		if time.Now().After(deadline) {
			t.Fatal("the write never reached the file")
		}
	}
}
