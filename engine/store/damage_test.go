package store_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/engine/store"
	"headway.dev/engine/store/file"
	"headway.dev/manifests/model/change"
)

const pageSize = 4096

// damagedBy opens a copy of a store's file that edit has changed. It must be
// refused as damaged, or hold all that the file held: some pages are not in use.
func damagedBy(t *testing.T, data []byte, want map[string]string, what string, edit func([]byte) []byte) (refused bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, edit(append([]byte(nil), data...)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Path: path})
	if err != nil {
		if !errors.Is(err, file.ErrDamaged) || !strings.Contains(err.Error(), "restore it from a backup") {
			t.Errorf("%s: %v, want ErrDamaged and what to do", what, err)
		}
		return true
	}
	if got := values(s); !maps.Equal(got, want) {
		t.Errorf("%s: opened with %d objects, want a refusal or all %d", what, len(got), len(want))
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: close: %v", what, err)
	}
	return false
}

// Whatever page is zeroed, wherever the file ends: the store is refused, or
// whole. It never ends the process and is never opened with a part.
func TestDamagedPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, store.Options{Path: path})
	// Enough for branch pages, values over several pages, and logs.
	for i := range 16 {
		var changes []change.Change
		for j := range 20 {
			changes = append(changes, put(fmt.Sprintf("object-%d-%d", i, j), strings.Repeat("v", 100)))
		}
		commitRecords(t, s, fmt.Sprint(i), changes)
	}
	commit(t, s, change.Wait, put("large", strings.Repeat("x", 3*pageSize)))
	want := values(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pages := len(data) / pageSize
	for pages > 0 && len(strings.Trim(string(data[(pages-1)*pageSize:pages*pageSize]), "\x00")) == 0 {
		pages-- // never written
	}
	var zeroed, cut int
	for i := range pages {
		if damagedBy(t, data, want, fmt.Sprintf("page %d of %d zeroed", i, pages), func(b []byte) []byte {
			clear(b[i*pageSize : (i+1)*pageSize])
			return b
		}) {
			zeroed++
		}
		if damagedBy(t, data, want, fmt.Sprintf("cut after %d of %d pages", i, pages), func(b []byte) []byte { return b[:i*pageSize] }) {
			cut++
		}
	}
	t.Logf("of %d pages: refused %d zeroed, %d cut", pages, zeroed, cut)
	if zeroed < pages/3 || cut < pages/2 {
		t.Errorf("of %d pages only %d zeroed and %d cut ones were refused", pages, zeroed, cut)
	}
}

func commitRecords(t *testing.T, s *store.Store, data string, changes []change.Change) {
	t.Helper()
	tx := change.Tx{Changes: changes, Append: []change.Record{{Log: "log", Data: []byte(data)}}}
	if _, err := s.Commit(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
}
