package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// checkSnapshot compares what the indexes of a snapshot find, and how many
// objects they count, with a look at all of its objects.
func checkSnapshot(t *testing.T, r *rand.Rand, snapshot *store.Snapshot) (found int) {
	t.Helper()
	scope := store.Scope{Namespace: pick(r, "", "", "a", "b", "b\x01", "d")}
	switch r.IntN(3) {
	case 0:
		scope.Name = pick(r, "p", "q", "z")
	case 1:
		scope.Field, scope.Value = "spec.nodeName", pick(r, "", "n1", "n2", "n4")
	}
	namespace, name := pick(r, "", "a", "b", "c"), pick(r, "", "p", "p\x00", "q", "r", "z")
	w := scoped{scope: scope}
	var want []object.Object
	count := 0
	for key, obj := range snapshot.From("", "") {
		if key.Namespace < namespace || key.Namespace == namespace && key.Name < name {
			continue
		}
		if w.wants(obj) {
			want = append(want, obj)
		}
		if scope.Namespace == "" || scope.Namespace == key.Namespace {
			count++
		}
	}
	objects, err := snapshot.In(scope, namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	var got []object.Object
	for key, obj := range objects {
		if key.Name != obj.GetName() || key.Namespace != obj.GetNamespace() || key.GroupKind != podKind {
			t.Errorf("%s is the key of %s/%s", key, obj.GetNamespace(), obj.GetName())
		}
		got = append(got, obj)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v from %q, %q at %d: found %d objects, want %d", scope, namespace, name, snapshot.Revision(), len(got), len(want))
	}
	// A list stops where its page is full.
	for key, obj := range objects {
		if obj != want[0] {
			t.Errorf("%+v begins with %s", scope, key)
		}
		break
	}
	if scope.Namespace != "" && scope.Namespace != namespace {
		count = 0 // of a namespace, a page begins in it
		for key := range snapshot.From(scope.Namespace, name) {
			if key.Namespace == scope.Namespace {
				count++
			}
		}
		namespace = scope.Namespace
	}
	if n := snapshot.Count(scope.Namespace, namespace, name); n != count {
		t.Errorf("%+v from %q, %q at %d: counted %d, want %d", scope, namespace, name, snapshot.Revision(), n, count)
	}
	return len(got)
}

// Whatever is written, in transactions that fail, too, and however often the
// store is opened again: what is found by an index is what a look at everything
// finds, now and in older states.
func TestIndexesEqualAScan(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			path := filepath.Join(t.TempDir(), "db")
			found, older := 0, 0
			for range 3 {
				s, err := store.Open(store.Options{Path: path, History: 100})
				if err != nil {
					t.Fatal(err)
				}
				for range 200 {
					var tx change.Tx
					for range 1 + r.IntN(4) {
						tx.Changes = append(tx.Changes, bind(pick(r, "a", "b", "b\x01", "c"), pick(r, "p", "q", "r", "s"), pick(r, "-", "", "n1", "n2", "n3")))
					}
					if r.IntN(5) == 0 {
						tx.Changes = append(tx.Changes, change.Change{Key: configKey("x"), Mutate: func(object.Object) (object.Object, error) { return nil, errRandom }})
					}
					if _, err := s.Commit(t.Context(), tx); err != nil && !errors.Is(err, errRandom) {
						t.Fatal(err)
					}
					for range 4 {
						found += checkSnapshot(t, r, s.Snapshot(podKind))
					}
					if past, err := s.SnapshotAt(podKind, s.Revision()-r.Uint64N(min(40, s.Revision()))); err == nil {
						older++
						checkSnapshot(t, r, past)
					}
					if t.Failed() {
						break
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if found < 1000 || older < 100 {
				t.Errorf("the test is empty: %d objects found, %d older states", found, older)
			}
		})
	}
}

// An empty kind has nothing, and a field without an index is an error.
func TestIndexesOfNothing(t *testing.T) {
	s := tempStore(t)
	snapshot := s.Snapshot(podKind)
	for _, scope := range []store.Scope{{}, {Name: "p"}, {Namespace: "a"}, {Field: "spec.nodeName", Value: "n1"}} {
		objects, err := snapshot.In(scope, "", "")
		if err != nil {
			t.Fatal(err)
		}
		for key := range objects {
			t.Errorf("%+v: found %s", scope, key)
		}
	}
	if n := snapshot.Count("", "", ""); n != 0 {
		t.Errorf("%d objects are counted", n)
	}
	if _, err := snapshot.In(store.Scope{Field: "spec.unknown"}, "", ""); err == nil {
		t.Error("a field without an index is found")
	}
	if got := s.Indexed(podKind); !slices.Equal(got, []string{"spec.nodeName"}) || len(s.Indexed(configMapKind)) != 0 {
		t.Errorf("indexed fields of pods: %q", got)
	}
}
