package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// model is what the store should be: the states at all revisions.
type model struct {
	now    map[string]string
	states map[uint64]map[string]string
}

// tx makes a random transaction, and what becomes of the model if it succeeds.
func (m *model) tx(r *rand.Rand) (change.Tx, map[string]string, bool) {
	next := maps.Clone(m.now)
	tx := change.Tx{Durability: change.Durability(r.IntN(2))}
	for range 1 + r.IntN(5) {
		name, value := fmt.Sprint("k", r.IntN(12)), fmt.Sprint(r.IntN(1000)+1)
		if r.IntN(3) == 0 {
			value = ""
			delete(next, name)
		} else {
			next[name] = value
		}
		tx.Changes = append(tx.Changes, put(name, value))
	}
	if r.IntN(5) == 0 {
		tx.Changes = append(tx.Changes, change.Change{Key: configKey("x"), Mutate: func(object.Object) (object.Object, error) {
			return nil, errRandom
		}})
		return tx, m.now, false
	}
	return tx, next, true
}

var errRandom = errors.New("random failure")

// Whatever is written, in whatever transactions and however often the store is
// opened again, the store equals a map; so do its older states, and a copy
// that a watcher keeps.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			path := filepath.Join(t.TempDir(), "db")
			m := model{now: map[string]string{}, states: map[uint64]map[string]string{}}
			for range 4 {
				m.life(t, r, path)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// life opens the store, writes, and closes it.
func (m *model) life(t *testing.T, r *rand.Rand, path string) {
	t.Helper()
	s, err := store.Open(store.Options{Path: path, History: 60})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	wantValues(t, s, m.now)
	clear(m.states)
	m.states[s.Revision()] = m.now
	w, err := s.Watch(0, configMapKind)
	if err != nil {
		t.Fatal(err)
	}
	copied := maps.Clone(m.now)
	for i := range 300 {
		tx, next, ok := m.tx(r)
		_, err := s.Commit(t.Context(), tx)
		if ok != (err == nil) || !ok && !errors.Is(err, errRandom) {
			t.Fatalf("Commit = %v, want success: %v", err, ok)
		}
		m.now = next
		m.states[s.Revision()] = next
		wantValues(t, s, m.now)
		if i%10 == 9 {
			m.checkWatch(t, s, w, copied)
			m.checkPast(t, s)
		}
		if t.Failed() {
			return
		}
	}
}

// checkWatch follows the events since the last call.
func (m *model) checkWatch(t *testing.T, s *store.Store, w object.Watcher, copied map[string]string) {
	t.Helper()
	for w.Revision() < s.Revision() || len(copied) != len(m.now) || !maps.Equal(copied, m.now) {
		events, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			checkEvent(t, e, copied)
		}
	}
}

func checkEvent(t *testing.T, e object.Event, copied map[string]string) {
	t.Helper()
	old, had := copied[e.Key.Name]
	if wantOld := e.Type != object.Added; wantOld != had || wantOld != (e.Old != nil) {
		t.Errorf("event %d of %s at %d: had it: %v, Old: %v", e.Type, e.Key, e.Revision, had, e.Old)
	}
	if had && valueOf(e.Old) != old {
		t.Errorf("event at %d: old value %s, want %s", e.Revision, valueOf(e.Old), old)
	}
	if got, want := e.Object.GetResourceVersion(), strconv.FormatUint(e.Revision, 10); got != want {
		t.Errorf("event's object has resourceVersion %s, want %s", got, want)
	}
	if e.Type == object.Deleted {
		delete(copied, e.Key.Name)
		return
	}
	copied[e.Key.Name] = valueOf(e.Object)
}

// checkPast compares the older states that the store still has.
func (m *model) checkPast(t *testing.T, s *store.Store) {
	t.Helper()
	known := 0
	for revision, want := range m.states {
		snapshot, err := s.SnapshotAt(configMapKind, revision)
		if errors.Is(err, object.ErrExpired) {
			if revision >= s.Forgotten(configMapKind) {
				t.Errorf("state %d is gone, but only those before %d should be", revision, s.Forgotten(configMapKind))
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		known++
		got := map[string]string{}
		for key, obj := range snapshot.From("", "") {
			got[key.Name] = valueOf(obj)
		}
		if !maps.Equal(got, want) || snapshot.Len() != len(want) || snapshot.Revision() != revision {
			t.Errorf("state at %d = %v, want %v", revision, got, want)
		}
	}
	if known == 0 {
		t.Error("no state is known")
	}
}
