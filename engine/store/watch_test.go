package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

func valueOf(obj object.Object) string { return obj.(*corev1.ConfigMap).Data["value"] }

func putPod(name string) change.Change {
	key := object.Key{GroupKind: podKind, Namespace: "default", Name: name}
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}, nil
	}}
}

func names(events []object.Event) string {
	var out []string
	for _, e := range events {
		out = append(out, fmt.Sprintf("%d%s", e.Type, e.Key.Name))
	}
	return strings.Join(out, " ")
}

func next(t *testing.T, w object.Watcher) []object.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	events, err := w.Next(ctx)
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return events
}

func watch(t *testing.T, s *store.Store, from uint64, kinds ...object.Key) object.Watcher {
	t.Helper()
	var w object.Watcher
	var err error
	switch len(kinds) {
	case 0:
		w, err = s.Watch(from)
	case 1:
		w, err = s.Watch(from, kinds[0].GroupKind)
	default:
		w, err = s.Watch(from, kinds[0].GroupKind, kinds[1].GroupKind)
	}
	if err != nil {
		t.Fatalf("Watch(%d): %v", from, err)
	}
	return w
}

// Watchers of one, two and all kinds get their events in order, from any
// revision that is kept.
func TestWatch(t *testing.T) {
	s := tempStore(t)
	start := s.Revision()
	maps, pods := object.Key{GroupKind: configMapKind}, object.Key{GroupKind: podKind}
	now := watch(t, s, 0, maps)
	commit(t, s, change.Wait, put("a", "1"), putPod("p"), put("b", "1"))
	commit(t, s, change.Behind, put("a", "2"))
	commit(t, s, change.Wait, put("b", ""))
	for name, tc := range map[string]struct {
		w    object.Watcher
		want string
	}{
		"from now":  {now, "1a 1b 2a 3b"},
		"one kind":  {watch(t, s, start, maps), "1a 1b 2a 3b"},
		"two kinds": {watch(t, s, start, maps, pods), "1a 1p 1b 2a 3b"},
		"all kinds": {watch(t, s, start), "1a 1p 1b 2a 3b"},
		"later":     {watch(t, s, start+3, maps), "2a 3b"},
	} {
		if got := names(next(t, tc.w)); got != tc.want {
			t.Errorf("%s: events %s, want %s", name, got, tc.want)
		}
		if got := tc.w.Revision(); got != s.Revision() {
			t.Errorf("%s: revision %d, want %d", name, got, s.Revision())
		}
	}
	// A revision passes by without an event of the kind.
	commit(t, s, change.Wait, putPod("q"))
	if got := now.Revision(); got != s.Revision() {
		t.Errorf("idle watcher's revision = %d, want %d", got, s.Revision())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := now.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next with an ended context = %v", err)
	}
}

// Poll returns a few events at a time, by their number and by their size, in
// order and without a gap, and tells how far it has got.
func TestPollIsBounded(t *testing.T) {
	s := tempStore(t)
	one, err := s.Follow(0, configMapKind)
	if err != nil {
		t.Fatal(err)
	}
	both, err := s.Follow(0, configMapKind, podKind)
	if err != nil {
		t.Fatal(err)
	}
	start := s.Revision()
	for i := range 20 {
		commit(t, s, change.Wait, put("a", fmt.Sprint(i+1)), putPod(fmt.Sprint("p", i)))
	}
	large := strings.Repeat("x", 400_000)
	for i := range 4 {
		commit(t, s, change.Wait, put(fmt.Sprint("large-", i), large))
	}
	end := s.Revision()
	commit(t, s, change.Wait, put("huge", strings.Repeat("x", 1_200_000)), put("z", "1"))
	for name, tc := range map[string]struct {
		w    *store.Watcher
		want []int
	}{
		"one kind":  {one, []int{16, 6, 2, 1, 1}},
		"two kinds": {both, []int{16, 16, 10, 2, 1, 1}},
	} {
		last := start
		for _, want := range tc.want {
			events, _, err := tc.w.Poll()
			if err != nil || len(events) != want {
				t.Fatalf("%s: %d events after %d, want %d: %v", name, len(events), last, want, err)
			}
			for _, e := range events {
				if e.Revision <= last || tc.w == both && e.Revision != last+1 {
					t.Errorf("%s: event at %d after %d", name, e.Revision, last)
				}
				last = e.Revision
			}
			if got := tc.w.Revision(); got != last {
				t.Errorf("%s: revision %d after an event at %d", name, got, last)
			}
		}
		if events, changed, err := tc.w.Poll(); len(events) > 0 || changed == nil || err != nil || tc.w.Revision() != s.Revision() {
			t.Errorf("%s: %d more events, at %d of %d: %v", name, len(events), tc.w.Revision(), s.Revision(), err)
		}
	}
	// Who is in this process gets all at once.
	if got := next(t, watch(t, s, start, object.Key{GroupKind: configMapKind}, object.Key{GroupKind: podKind})); len(got) != int(s.Revision()-start) || got[43].Revision != end {
		t.Errorf("Next returned %d events of %d", len(got), s.Revision()-start)
	}
}

// A watcher that falls behind, or starts too early, is told to list again; a
// quiet kind is not affected by a busy one.
func TestWatchExpired(t *testing.T) {
	s := open(t, store.Options{Path: filepath.Join(t.TempDir(), "db"), History: 10})
	start := s.Revision()
	slow, quiet, all := watch(t, s, 0, object.Key{GroupKind: configMapKind}), watch(t, s, 0, object.Key{GroupKind: podKind}), watch(t, s, 0)
	for i := range 20 {
		commit(t, s, change.Behind, put("a", fmt.Sprint(i+1)))
	}
	commit(t, s, change.Behind, putPod("p"))
	for name, w := range map[string]object.Watcher{"slow": slow, "all": all} {
		if _, err := w.Next(t.Context()); !errors.Is(err, object.ErrExpired) {
			t.Errorf("%s: Next = %v, want ErrExpired", name, err)
		}
	}
	if got := names(next(t, quiet)); got != "1p" {
		t.Errorf("quiet kind's events = %s, want 1p", got)
	}
	if _, err := s.Watch(start, configMapKind); !errors.Is(err, object.ErrExpired) {
		t.Errorf("Watch from an old revision = %v, want ErrExpired", err)
	}
	if _, err := s.SnapshotAt(configMapKind, s.Revision()+1); !errors.Is(err, store.ErrFuture) {
		t.Errorf("SnapshotAt in the future = %v, want ErrFuture", err)
	}
}

// Old events go when there are new ones, but for the newest.
func TestHistoryAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, store.Options{Path: filepath.Join(t.TempDir(), "db"), HistoryAge: time.Minute})
		for i := range 300 {
			commit(t, s, change.Wait, put("a", fmt.Sprint(i+1)))
		}
		old := s.Revision()
		<-time.After(2 * time.Minute)
		if _, err := s.SnapshotAt(configMapKind, old-200); err != nil {
			t.Errorf("state of 200 changes ago: %v", err)
		}
		commit(t, s, change.Wait, put("a", "new"))
		if _, err := s.SnapshotAt(configMapKind, old-200); !errors.Is(err, object.ErrExpired) {
			t.Errorf("state of 200 changes and 2 minutes ago: %v, want ErrExpired", err)
		}
		if _, err := s.Watch(old-100, configMapKind); err != nil {
			t.Errorf("watch from 100 changes ago: %v", err)
		}
	})
}

// A kind that changes often keeps what a watcher needs that had its last bookmark
// a minute ago, within the budget of bytes, and no more of it later.
func TestHistoryOfABusyKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const busy = 10_000
		s := open(t, store.Options{Path: filepath.Join(t.TempDir(), "db")})
		small := open(t, store.Options{Path: filepath.Join(t.TempDir(), "small"), HistoryBytes: 5000 * 100})
		start := s.Revision()
		slow := watch(t, s, 0, object.Key{GroupKind: configMapKind})
		for i := 0; i < busy; i += 100 {
			var changes []change.Change
			for j := i; j < i+100; j++ {
				changes = append(changes, put(fmt.Sprint("a", j), "1"))
			}
			commit(t, s, change.Behind, changes...)
			commit(t, small, change.Behind, changes...)
		}
		kept := func(s *store.Store) uint64 { return s.Revision() - s.Forgotten(configMapKind) }
		<-time.After(time.Minute)
		commit(t, s, change.Behind, put("b", "1"))
		if got := len(next(t, slow)); got != busy+1 {
			t.Errorf("a watcher that is a minute behind got %d events, want %d", got, busy+1)
		}
		if _, err := s.SnapshotAt(configMapKind, start+1); err != nil {
			t.Errorf("the state of a minute ago: %v", err)
		}
		if got := kept(small); got != 5000 {
			t.Errorf("%d events are kept within the bytes of 5000", got)
		}
		<-time.After(time.Minute)
		commit(t, s, change.Behind, put("b", "2"))
		if got := kept(s); got != 4096 {
			t.Errorf("after two minutes %d events are kept, want 4096", got)
		}
	})
}

// The events of large objects are kept within a budget of bytes: whoever is
// slow is told to list again. The events of other kinds are not the price.
func TestHistoryBytes(t *testing.T) {
	const size = 10_000
	s := open(t, store.Options{Path: filepath.Join(t.TempDir(), "db"), HistoryBytes: 20 * size})
	start := s.Revision()
	quiet := watch(t, s, 0, object.Key{GroupKind: podKind})
	commit(t, s, change.Wait, putPod("p"))
	for i := range 10 {
		commit(t, s, change.Wait, put("a", fmt.Sprint(i, strings.Repeat("x", size))))
	}
	if _, err := s.Watch(start, configMapKind); err != nil {
		t.Errorf("within the budget: %v", err)
	}
	for range 3 {
		for i := range 10 {
			commit(t, s, change.Wait, put("a", fmt.Sprint(i, strings.Repeat("y", size))))
		}
		commit(t, s, change.Wait, put("a", ""))
	}
	if _, err := s.Watch(start, configMapKind); !errors.Is(err, object.ErrExpired) {
		t.Errorf("beyond the budget: %v, want ErrExpired", err)
	}
	kept := 0
	for revision := s.Revision(); revision > start; revision-- {
		if _, err := s.SnapshotAt(configMapKind, revision); err != nil {
			break
		}
		kept++
	}
	if kept < 15 || kept > 21 {
		t.Errorf("%d events of %d bytes are kept within %d", kept, size, 20*size)
	}
	if got := names(next(t, quiet)); got != "1p" {
		t.Errorf("the quiet kind's events = %s, want 1p", got)
	}
}

// What was there before the store was opened has no events.
func TestWatchAfterReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, store.Options{Path: path})
	start := s.Revision()
	commit(t, s, change.Wait, put("a", "1"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Path: path})
	if _, err := s.Watch(start, configMapKind); !errors.Is(err, object.ErrExpired) {
		t.Errorf("Watch = %v, want ErrExpired", err)
	}
	w := watch(t, s, s.Revision(), object.Key{GroupKind: configMapKind})
	commit(t, s, change.Wait, put("a", ""))
	if got := names(next(t, w)); got != "3a" {
		t.Errorf("events = %s, want 3a", got)
	}
}

// Readers, watchers and writers work at the same time; every watcher sees
// every revision once, in order, and never an event before its state.
func TestConcurrent(t *testing.T) {
	s := tempStore(t)
	const writers, writes = 8, 60
	var group sync.WaitGroup
	for range 4 {
		w := watch(t, s, 0, object.Key{GroupKind: configMapKind})
		group.Go(func() {
			last, seen := uint64(0), 0
			for seen < writers*writes {
				events, err := w.Next(t.Context())
				if err != nil {
					t.Errorf("Next: %v", err)
					return
				}
				for _, e := range events {
					if e.Revision <= last || e.Revision > s.Revision() {
						t.Errorf("event at %d after %d, store at %d", e.Revision, last, s.Revision())
					}
					last = e.Revision
					seen++
				}
			}
		})
	}
	for i := range writers {
		group.Go(func() {
			name := fmt.Sprint("w", i)
			for n := range writes {
				d := change.Durability(n % 2)
				if _, err := s.Commit(t.Context(), change.Tx{Durability: d, Changes: []change.Change{put(name, fmt.Sprint(n+1))}}); err != nil {
					t.Error(err)
					return
				}
				if got, want := valueOf(s.Get(configKey(name))), fmt.Sprint(n+1); got != want {
					t.Errorf("read %s after writing %s", got, want)
				}
				if _, err := s.SnapshotAt(configMapKind, s.Revision()-min(5, uint64(n))); err != nil {
					t.Errorf("SnapshotAt: %v", err)
				}
			}
		})
	}
	group.Wait()
}
