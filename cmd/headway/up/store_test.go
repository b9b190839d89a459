package up_test

import (
	"path/filepath"
	"testing"

	"headway.dev/engine/store"
	"headway.dev/syncer/env"
	"headway.dev/syncer/storetest"
)

// The real store keeps what the syncer relies on, as does the one that the
// syncer's own tests have.
func TestStoreForTheSyncer(t *testing.T) {
	storetest.Run(t, func(t *testing.T) env.Store {
		t.Helper()
		s, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}
