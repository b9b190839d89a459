package store_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
)

// Records that newer ones replace disappear from the file, in time; what was
// deleted stays deleted.
func TestCompaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	opts := store.Options{Path: path, FlushDelay: time.Millisecond}
	s := open(t, opts)
	want := map[string]string{}
	churn := func(rounds int) {
		for range rounds {
			var changes []change.Change
			for i := range 20 {
				name, value := fmt.Sprint("k", i), fmt.Sprint(s.Revision())
				if i%4 == 3 && want[name] != "" {
					value = ""
					delete(want, name)
				} else {
					want[name] = value
				}
				changes = append(changes, put(name, value))
			}
			commit(t, s, change.Wait, changes...)
		}
	}
	churn(200) // 4000 records
	deadline := time.Now().Add(30 * time.Second)
	for {
		churn(5)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		n := countRecords(t, path)
		s = open(t, opts)
		wantValues(t, s, want)
		if t.Failed() || n < 1500 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the file still has %d records for %d objects", n, len(want))
		}
	}
}

func countRecords(t *testing.T, path string) int {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("objects")).ForEach(func(_, _ []byte) error {
			n++
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}
