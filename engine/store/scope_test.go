package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// bind puts a pod on a node, "-" removes it.
func bind(namespace, name, node string) change.Change {
	key := object.Key{GroupKind: podKind, Namespace: namespace, Name: name}
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) {
		if node == "-" {
			return nil, nil
		}
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: node}}, nil
	}}
}

func followScope(t *testing.T, s *store.Store, from uint64, scope store.Scope) *store.Watcher {
	t.Helper()
	w, err := s.FollowScope(from, podKind, scope)
	if err != nil {
		t.Fatalf("FollowScope(%d, %+v): %v", from, scope, err)
	}
	return w
}

// idle polls a watcher that has no events, and returns what it waits for.
func idle(t *testing.T, w *store.Watcher) <-chan struct{} {
	t.Helper()
	events, changed, err := w.Poll()
	if err != nil || len(events) > 0 {
		t.Fatalf("Poll = %s, %v; want nothing", names(events), err)
	}
	return changed
}

func closed(changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	default:
		return false
	}
}

// An event wakes those whose scope it is about, before or after it, and nobody
// else. However many events of others are forgotten, nobody misses an own one.
func TestScopeWakesWhoIsConcerned(t *testing.T) {
	s := open(t, store.Options{Path: filepath.Join(t.TempDir(), "db"), History: 10})
	commit(t, s, change.Behind, bind("a", "p", ""))
	scopes := map[string]store.Scope{
		"pod":       {Namespace: "a", Name: "p"},
		"name":      {Name: "p"},
		"namespace": {Namespace: "a"},
		"unbound":   {Field: "spec.nodeName"},
		"n1":        {Field: "spec.nodeName", Value: "n1"},
		"n1 in a":   {Field: "spec.nodeName", Value: "n1", Namespace: "a"},
		"n2":        {Field: "spec.nodeName", Value: "n2"},
		"all":       {},
	}
	watchers, waits := map[string]*store.Watcher{}, map[string]<-chan struct{}{}
	for name, scope := range scopes {
		watchers[name] = followScope(t, s, 0, scope)
		waits[name] = idle(t, watchers[name])
	}
	for _, step := range []struct {
		change change.Change
		wakes  string
		event  string
	}{
		{bind("b", "q", "n3"), "all", "1q"},
		{bind("a", "p", "n1"), "all n1 n1 in a name namespace pod unbound", "2p"},
		{bind("a", "p", "n1"), "all n1 n1 in a name namespace pod", "2p"},
		{bind("b", "p", "n2"), "all n2 name", "1p"},
		{bind("a", "p", "-"), "all n1 n1 in a name namespace pod", "3p"},
	} {
		commit(t, s, change.Behind, step.change)
		for name, w := range watchers {
			wanted := strings.Contains(" "+step.wakes+" ", " "+name+" ")
			if got := closed(waits[name]); got != wanted {
				t.Errorf("%s: woken by %s: %v, want %v", name, step.event, got, wanted)
			}
			if wanted {
				if events, _, err := w.Poll(); err != nil || names(events) != step.event {
					t.Errorf("%s: got %s, %v; want %s", name, names(events), err, step.event)
				}
			}
			if got := w.Revision(); got != s.Revision() {
				t.Errorf("%s: at %d of %d", name, got, s.Revision())
			}
			waits[name] = idle(t, w)
		}
	}
	for i := range 30 {
		commit(t, s, change.Behind, bind("c", fmt.Sprint("other-", i), "n9"))
	}
	for name, w := range watchers {
		if name == "all" {
			continue
		}
		if got := w.Revision(); closed(waits[name]) || got != s.Revision() {
			t.Errorf("%s: woken or behind, at %d of %d", name, got, s.Revision())
		}
	}
	commit(t, s, change.Behind, bind("a", "p", "n1"))
	if events, _, err := watchers["n1"].Poll(); err != nil || names(events) != "1p" {
		t.Errorf("after many events of others: %s, %v", names(events), err)
	}
	// Own events that nobody keeps any more are missed, and that is told.
	for i := range 20 {
		commit(t, s, change.Behind, bind("a", fmt.Sprint(i), "n2"))
	}
	if _, _, err := watchers["n2"].Poll(); !errors.Is(err, object.ErrExpired) {
		t.Errorf("Poll after own events were forgotten: %v, want ErrExpired", err)
	}
	for _, w := range watchers {
		w.Close()
		w.Close()
	}
	if n := s.Topics(podKind); n != 0 {
		t.Errorf("%d topics are kept for nobody", n)
	}
	for _, scope := range []store.Scope{{Field: "spec.unknown"}, {Name: "p", Field: "spec.nodeName"}} {
		if _, err := s.FollowScope(0, podKind, scope); err == nil {
			t.Errorf("%+v can be followed", scope)
		}
	}
}

// scoped is a watcher of a scope, compared with what of all events it should
// see.
type scoped struct {
	*store.Watcher
	scope store.Scope
	// from is the revision of the last event seen, or where it began.
	from uint64
	wait <-chan struct{}
}

// wants is what the scope says, once more and without an index.
func (w *scoped) wants(obj object.Object) bool {
	if obj == nil {
		return false
	}
	pod := obj.(*corev1.Pod)
	return (w.scope.Namespace == "" || pod.Namespace == w.scope.Namespace) && (w.scope.Name == "" || pod.Name == w.scope.Name) &&
		(w.scope.Field == "" || pod.Spec.NodeName == w.scope.Value)
}

// missing are the events of the log that w has yet to see.
func (w *scoped) missing(log []object.Event) (events []object.Event) {
	for _, e := range log {
		if e.Revision > w.from && (w.wants(e.Object) || w.wants(e.Old)) {
			events = append(events, e)
		}
	}
	return events
}

// check polls once. It returns false when the watcher has ended.
func (w *scoped) check(t *testing.T, s *store.Store, log []object.Event) bool {
	t.Helper()
	want := w.missing(log)
	if w.wait != nil && len(want) > 0 && !closed(w.wait) {
		t.Errorf("%+v: was not woken for %s", w.scope, names(want))
	}
	events, wait, err := w.Poll()
	if err != nil {
		if gone := len(want) > 0 && want[0].Revision <= s.Forgotten(podKind); !errors.Is(err, object.ErrExpired) || !gone {
			t.Errorf("%+v: %v, while it has to see %s and %d is forgotten", w.scope, err, names(want), s.Forgotten(podKind))
		}
		return false
	}
	if len(want) > 0 && len(events) == 0 || len(events) > len(want) || names(events) != names(want[:len(events)]) {
		t.Errorf("%+v after %d: got %s, want the first of %s", w.scope, w.from, names(events), names(want))
		return false
	}
	for i, e := range events {
		if e.Revision != want[i].Revision || e.Object != want[i].Object || e.Old != want[i].Old {
			t.Errorf("%+v: event %d is another one", w.scope, e.Revision)
		}
		w.from = e.Revision
	}
	w.wait = nil
	if len(events) == 0 {
		w.wait = wait
		if got := w.Revision(); got != s.Revision() {
			t.Errorf("%+v: has seen all, at %d of %d", w.scope, got, s.Revision())
		}
	}
	return true
}

// Whatever changes, a watcher of a scope sees what a filter over all events
// leaves, from whatever revision it begins and however seldom it looks; it is
// told to list again only if an event is gone that it has not seen.
func TestScopesEqualAFilter(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			s := open(t, store.Options{Path: filepath.Join(t.TempDir(), "db"), History: 40})
			start := s.Revision()
			all, err := s.Follow(0, podKind)
			if err != nil {
				t.Fatal(err)
			}
			var log []object.Event
			var watchers []*scoped
			seen, expired := 0, 0
			for range 1500 {
				var tx []change.Change
				for range 1 + r.IntN(3) {
					tx = append(tx, bind(pick(r, "a", "b", "c"), pick(r, "p", "q", "r", "s"), pick(r, "-", "", "n1", "n2", "n3")))
				}
				commit(t, s, change.Behind, tx...)
				events, _, err := all.Poll()
				if err != nil {
					t.Fatal(err)
				}
				log = append(log, events...)
				if r.IntN(4) == 0 {
					if w := newScoped(t, s, r, start); w != nil {
						watchers = append(watchers, w)
					}
				}
				kept := watchers[:0]
				for _, w := range watchers {
					before := w.from
					switch {
					case r.IntN(8) > 0:
					case !w.check(t, s, log):
						expired++
						w.Close()
						continue
					case r.IntN(20) == 0:
						w.Close()
						continue
					}
					if w.from != before {
						seen++
					}
					kept = append(kept, w)
				}
				watchers = kept
				if t.Failed() {
					return
				}
			}
			if seen < 500 || expired < 5 {
				t.Errorf("the test is empty: %d looks saw events, %d watchers expired", seen, expired)
			}
			for _, w := range watchers {
				w.Close()
			}
			if n := s.Topics(podKind); n != 0 {
				t.Errorf("%d topics are kept for nobody", n)
			}
		})
	}
}

func pick(r *rand.Rand, values ...string) string { return values[r.IntN(len(values))] }

// newScoped begins at some revision, which may be too old.
func newScoped(t *testing.T, s *store.Store, r *rand.Rand, start uint64) *scoped {
	t.Helper()
	w := &scoped{from: s.Revision() - min(s.Revision()-start, r.Uint64N(60))}
	if r.IntN(2) == 0 {
		w.scope.Namespace = pick(r, "a", "b", "c", "d")
	}
	switch r.IntN(3) {
	case 0:
		w.scope.Name = pick(r, "p", "q", "z")
	case 1:
		w.scope.Field, w.scope.Value = "spec.nodeName", pick(r, "", "n1", "n2", "n4")
	}
	var err error
	w.Watcher, err = s.FollowScope(w.from, podKind, w.scope)
	if gone := w.from < s.Forgotten(podKind); gone != errors.Is(err, object.ErrExpired) || !gone && err != nil {
		t.Errorf("FollowScope(%d): %v, and %d is forgotten", w.from, err, s.Forgotten(podKind))
	}
	if err != nil {
		return nil
	}
	return w
}
