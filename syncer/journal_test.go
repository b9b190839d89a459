package syncer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"headway.dev/manifests/model/change"
	"headway.dev/syncer"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/wire"
)

// journalOf runs a syncer for some commits, and returns its store.
func journalOf(t *testing.T, commits int, cfg func(*syncer.Config)) *world {
	t.Helper()
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "zero")}, nil, cfg)
	w.applied(w.main())
	for i := range commits {
		w.write(map[string]string{"a.yaml": configMap("a", "v"+strconv.Itoa(i))})
		sha := w.push("commit " + strconv.Itoa(i))
		w.applied(sha)
		w.eventually("its verdict", func() bool { return w.condition("headway.dev/Verdict") == "True main@sha1:"+sha })
	}
	return w
}

// copied is a store with the logs of another after edit.
func copied(t *testing.T, from *memstore.Store, edit func(log string, records [][]byte) [][]byte) *memstore.Store {
	t.Helper()
	to := memstore.New()
	for _, log := range []string{"journal", "journal-head"} {
		records, err := from.Records(log, 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range edit(log, slices.Clone(records)) {
			if _, err := to.Commit(t.Context(), change.Tx{Append: []change.Record{{Log: log, Data: r}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// Whatever is changed, cut out or cut off is found.
func TestTamperedJournal(t *testing.T) {
	w := journalOf(t, 3, nil)
	w.stop()
	only := func(name string, edit func([][]byte) [][]byte) func(string, [][]byte) [][]byte {
		return func(log string, records [][]byte) [][]byte {
			if log == name {
				return edit(records)
			}
			return records
		}
	}
	for _, tt := range []struct {
		name  string
		edit  func(string, [][]byte) [][]byte
		sound int
		want  string
	}{
		{"nothing", only("", nil), 8, ""},
		{"changed", only("journal", func(r [][]byte) [][]byte {
			r[2] = bytes.Replace(r[2], []byte(`"seq":2`), []byte(`"seq":2,"reason":"forged"`), 1)
			return r
		}), 2, "entry 2 was changed"},
		{"cut in the middle", only("journal", func(r [][]byte) [][]byte { return append(r[:3:3], r[4:]...) }), 3, "entry 3 does not follow"},
		{"cut off the beginning", only("journal", func(r [][]byte) [][]byte { return r[2:] }), 0, "entry 0 does not follow"},
		{"cut off the end", only("journal", func(r [][]byte) [][]byte { return r[:6] }), 6, "cut off its end"},
		{"the last one forged", only("journal", func(r [][]byte) [][]byte {
			var e wire.Entry
			if err := json.Unmarshal(r[7], &e); err != nil {
				t.Fatal(err)
			}
			return append(r[:7:7], reseal(t, e))
		}), 7, "entry 7 was changed"},
		{"no head", only("journal-head", func([][]byte) [][]byte { return nil }), 8, "where the journal ends is gone"},
		{"all gone", only("journal", func([][]byte) [][]byte { return nil }), 0, "cut off its end"},
	} {
		s := syncer.New(syncer.Config{Store: copied(t, w.store, tt.edit), DataDir: t.TempDir()})
		n, err := s.VerifyJournal()
		if n != tt.sound || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: VerifyJournal() = %d, %v, want %d, %q", tt.name, n, err, tt.sound, tt.want)
		}
	}
}

// A journal that is trimmed can be verified from where it begins, and what is
// cut off its beginning besides is found; the log knows the rest.
func TestTrimmedJournal(t *testing.T) {
	keep := func(c *syncer.Config) { c.JournalEntries = 5 }
	w := journalOf(t, 6, keep)
	w.restart()
	w.write(map[string]string{"a.yaml": configMap("a", "last")})
	w.applied(w.push("last"))
	w.eventually("the verdict", func() bool {
		log, err := w.sync.Log("cm", "default", "a", -1, 100)
		return err == nil && len(log) > 0 && log[0].Commit.Subject == "last" && log[0].Verdict == wire.VerdictHealthy
	})
	records, err := w.store.Records("journal", 0, 100)
	if err != nil || len(records) != 5 {
		t.Fatalf("the journal has %d entries, %v; want 5", len(records), err)
	}
	if n, err := w.sync.VerifyJournal(); n != 5 || err != nil {
		t.Errorf("VerifyJournal() = %d, %v", n, err)
	}
	log, err := w.sync.Log("", "", "", -1, 100)
	if err != nil || len(log) < 2 || log[0].Commit.Subject != "last" {
		t.Errorf("the log has %d entries, %v", len(log), err)
	}
	w.stop()
	cut := copied(t, w.store, func(log string, r [][]byte) [][]byte {
		if log == "journal" {
			return r[1:]
		}
		return r
	})
	if n, err := syncer.New(syncer.Config{Store: cut, DataDir: t.TempDir()}).VerifyJournal(); n != 0 || err == nil {
		t.Errorf("after another cut: VerifyJournal() = %d, %v", n, err)
	}
}

// reseal is an entry with another reason, and a hash that is right for it.
func reseal(t *testing.T, e wire.Entry) []byte {
	t.Helper()
	e.Reason, e.Hash = "forged", ""
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	e.Hash = fmt.Sprintf("%x", sha256.Sum256(data))
	if data, err = json.Marshal(e); err != nil {
		t.Fatal(err)
	}
	return data
}
