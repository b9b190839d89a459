//nolint:thelper // these are the tests of the suite, not helpers: a failure names their line
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
)

// Run runs the tests. Each opens an empty store.
func Run(t *testing.T, open func(t *testing.T) env.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *store){
		"a transaction":           testTransaction,
		"nothing changed":         testNothingChanged,
		"all or nothing":          testAllOrNothing,
		"a conflict":              testConflict,
		"objects are not shared":  testNotShared,
		"lists":                   testLists,
		"watching":                testWatch,
		"watching from the past":  testWatchFromThePast,
		"watching from to come":   testWatchFromTheFuture,
		"a log":                   testLog,
		"a log that is cut short": testCutLog,
	} {
		t.Run(name, func(t *testing.T) { test(t, &store{t, open(t)}) })
	}
}

type store struct {
	t *testing.T
	env.Store
}

var configMaps = schema.GroupKind{Kind: "ConfigMap"}

func keyOf(name string) object.Key {
	return object.Key{GroupKind: configMaps, Namespace: "default", Name: name}
}

// put makes value the state of a ConfigMap, "" removes it.
func put(name, value string) change.Change {
	return change.Change{Key: keyOf(name), Mutate: func(object.Object) (object.Object, error) {
		if value == "" {
			return nil, nil
		}
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"value": value}}, nil
	}}
}

func (s *store) commit(changes ...change.Change) []object.Object {
	s.t.Helper()
	states, err := s.Commit(s.t.Context(), change.Tx{Changes: changes})
	if err != nil {
		s.t.Fatalf("commit: %v", err)
	}
	return states
}

func value(obj object.Object) string {
	if cm, ok := obj.(*corev1.ConfigMap); ok && cm != nil {
		return cm.Data["value"]
	}
	return ""
}

// state is "name=value" of all ConfigMaps, in the list's order.
func (s *store) state() string {
	list, _ := s.List(configMaps, "")
	var out []string
	for _, o := range list {
		out = append(out, o.GetName()+"="+value(o))
	}
	return strings.Join(out, " ")
}

func (s *store) want(what, got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func testTransaction(t *testing.T, s *store) {
	seen := ""
	states := s.commit(put("a", "1"), put("b", "2"), change.Change{Key: keyOf("a"), Mutate: func(o object.Object) (object.Object, error) {
		seen = value(o)
		return put("a", "3").Mutate(o)
	}}, put("b", ""))
	s.want("a change sees those before it", seen, "1")
	s.want("what is stored", s.state(), "a=3")
	if len(states) != 4 || value(states[0]) != "3" || states[1] != nil || value(states[2]) != "3" || states[3] != nil {
		t.Errorf("the states afterwards are %v", states)
	}
	_, revision := s.List(configMaps, "")
	stored := s.Get(keyOf("a")).GetResourceVersion()
	s.commit(put("a", "4"))
	_, next := s.List(configMaps, "")
	if got := s.Get(keyOf("a")).GetResourceVersion(); next <= revision || got == stored || got != fmt.Sprint(next) {
		t.Errorf("the revision went from %d to %d, the resourceVersion from %s to %s", revision, next, stored, got)
	}
}

func testNothingChanged(t *testing.T, s *store) {
	s.commit(put("a", "1"))
	_, before := s.List(configMaps, "")
	states := s.commit(change.Change{Key: keyOf("a"), Mutate: func(o object.Object) (object.Object, error) { return o, nil }}, put("none", ""))
	if _, after := s.List(configMaps, ""); after != before {
		t.Errorf("the revision went from %d to %d", before, after)
	}
	if len(states) != 2 || value(states[0]) != "1" || states[1] != nil {
		t.Errorf("the states afterwards are %v", states)
	}
}

func testAllOrNothing(t *testing.T, s *store) {
	s.commit(put("a", "1"))
	_, before := s.List(configMaps, "")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	refused := errors.New("refused")
	failing := func(f func() (object.Object, error)) change.Change {
		return change.Change{Key: keyOf("c"), Mutate: func(object.Object) (object.Object, error) { return f() }}
	}
	unknown := put("d", "1")
	unknown.Key.GroupKind = schema.GroupKind{Group: "nobody.example", Kind: "Unknown"}
	for name, tt := range map[string]struct {
		ctx  context.Context //nolint:containedctx // one case is about the context
		last change.Change
		is   error
		says string
	}{
		"an error":        {t.Context(), failing(func() (object.Object, error) { return nil, refused }), refused, ""},
		"a panic":         {t.Context(), failing(func() (object.Object, error) { panic("ouch") }), nil, "ouch"},
		"an unknown kind": {t.Context(), unknown, nil, "nobody.example"},
		"an ended caller": {ended, put("c", "1"), context.Canceled, ""},
	} {
		_, err := s.Commit(tt.ctx, change.Tx{Changes: []change.Change{put("a", "2"), put("b", "1"), tt.last}, Append: []change.Record{{Log: "log", Data: []byte(name)}}})
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	s.want("after four failures there is", s.state(), "a=1")
	if _, after := s.List(configMaps, ""); after != before {
		t.Errorf("the revision went from %d to %d", before, after)
	}
	if records, err := s.Records("log", 0, 10); len(records) > 0 || err != nil {
		t.Errorf("the log has %q: %v", records, err)
	}
}

// testConflict: what was read before is compared with what is stored now, inside
// of the transaction.
func testConflict(t *testing.T, s *store) {
	s.commit(put("a", "1"))
	read := s.Get(keyOf("a"))
	s.commit(put("a", "2"))
	conflict := errors.New("conflict")
	_, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{{Key: keyOf("a"), Mutate: func(o object.Object) (object.Object, error) {
		if o != read {
			return nil, conflict
		}
		return put("a", "3").Mutate(o)
	}}}})
	if !errors.Is(err, conflict) {
		t.Errorf("the error is %v, want the conflict", err)
	}
	s.want("what is stored", s.state(), "a=2")
	s.want("what was read", value(read), "1")
}

// testNotShared: what is handed in stays the caller's.
func testNotShared(t *testing.T, s *store) {
	obj, _ := put("a", "1").Mutate(nil)
	same := change.Change{Key: keyOf("a"), Mutate: func(object.Object) (object.Object, error) { return obj, nil }}
	s.commit(same)
	first := s.Get(keyOf("a"))
	if obj.GetResourceVersion() != "" || first.GetResourceVersion() == "" {
		t.Errorf("the caller's has resourceVersion %q, the stored one %q", obj.GetResourceVersion(), first.GetResourceVersion())
	}
	before := first.GetResourceVersion()
	s.commit(same)
	s.want("the resourceVersion of what was read before", first.GetResourceVersion(), before)
	if s.Get(keyOf("a")).GetResourceVersion() == before {
		t.Error("another object with the same content was taken for the stored one")
	}
}

func testLists(t *testing.T, s *store) {
	other := change.Change{Key: object.Key{GroupKind: configMaps, Namespace: "other", Name: "b"}, Mutate: func(object.Object) (object.Object, error) {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "b"}, Data: map[string]string{"value": "3"}}, nil
	}}
	s.commit(put("c", "1"), other, put("a", "2"))
	s.want("all", s.state(), "a=2 c=1 b=3")
	if list, _ := s.List(configMaps, "other"); len(list) != 1 || value(list[0]) != "3" {
		t.Errorf("of the namespace other there is %v", list)
	}
	if list, _ := s.List(schema.GroupKind{Kind: "Secret"}, ""); len(list) > 0 {
		t.Errorf("of another kind there is %v", list)
	}
}

// next are "type name old>new" of the events until there are so many.
func (s *store) next(w object.Watcher, n int) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	var out []string
	last := uint64(0)
	for len(out) < n {
		events, err := w.Next(ctx)
		if err != nil {
			s.t.Fatalf("after %q: %v", out, err)
		}
		for _, ev := range events {
			if ev.Revision <= last || ev.Object.GetResourceVersion() != fmt.Sprint(ev.Revision) {
				s.t.Errorf("an event of %s has revision %d after %d, its object %s", ev.Key, ev.Revision, last, ev.Object.GetResourceVersion())
			}
			last = ev.Revision
			out = append(out, fmt.Sprintf("%v %s %s>%s", ev.Type, ev.Key.Name, value(ev.Old), value(ev.Object)))
		}
		if w.Revision() < last {
			s.t.Errorf("the watcher is at %d after an event of %d", w.Revision(), last)
		}
	}
	return strings.Join(out, ", ")
}

func testWatch(t *testing.T, s *store) {
	s.commit(put("before", "1"))
	w, err := s.Watch(0, configMaps)
	if err != nil {
		t.Fatal(err)
	}
	secret := change.Change{Key: object.Key{GroupKind: schema.GroupKind{Kind: "Secret"}, Namespace: "default", Name: "s"}, Mutate: func(object.Object) (object.Object, error) {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}, nil
	}}
	s.commit(put("a", "1"), secret)
	s.commit(put("a", "2"))
	// Each change is reported, also of what one transaction changes twice.
	s.commit(put("a", ""), put("b", "1"), put("b", "2"))
	s.want("the events", s.next(w, 5), strings.Join([]string{
		fmt.Sprintf("%v a >1", object.Added), fmt.Sprintf("%v a 1>2", object.Modified), fmt.Sprintf("%v a 2>2", object.Deleted),
		fmt.Sprintf("%v b >1", object.Added), fmt.Sprintf("%v b 1>2", object.Modified),
	}, ", "))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if events, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with nothing to tell: %v, %v", events, err)
	}
	s.commit(put("b", ""))
	s.want("after that", s.next(w, 1), fmt.Sprintf("%v b 2>2", object.Deleted))
}

func testWatchFromThePast(t *testing.T, s *store) {
	s.commit(put("a", "1"))
	_, revision := s.List(configMaps, "")
	s.commit(put("a", "2"))
	s.commit(put("b", "1"))
	w, err := s.Watch(revision)
	if err != nil {
		t.Fatal(err)
	}
	s.want("the events", s.next(w, 2), fmt.Sprintf("%v a 1>2, %v b >1", object.Modified, object.Added))
}

func testWatchFromTheFuture(t *testing.T, s *store) {
	s.commit(put("a", "1"))
	_, revision := s.List(configMaps, "")
	w, err := s.Watch(revision+2, configMaps)
	if err != nil {
		t.Fatal(err)
	}
	s.commit(put("b", "1"))
	s.commit(put("c", "1"))
	s.commit(put("d", "1"))
	s.want("the events", s.next(w, 1), fmt.Sprintf("%v d >1", object.Added))
}

func (s *store) records(from int64, limit int) string {
	s.t.Helper()
	records, err := s.Records("log", from, limit)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(slices.Collect(func(yield func(string) bool) {
		for _, r := range records {
			if !yield(string(r)) {
				return
			}
		}
	}), " ")
}

func testLog(t *testing.T, s *store) {
	s.want("a log that nobody wrote to", s.records(0, 10), "")
	_, before := s.List(configMaps, "")
	for _, list := range [][]string{{"0"}, {"1", "2"}, {"3"}} {
		var tx change.Tx
		for _, text := range list {
			tx.Append = append(tx.Append, change.Record{Log: "log", Data: []byte(text)}, change.Record{Log: "other", Data: []byte("x")})
		}
		if _, err := s.Commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	if _, after := s.List(configMaps, ""); after != before {
		t.Errorf("entries of logs moved the revision from %d to %d", before, after)
	}
	s.want("all", s.records(0, 10), "0 1 2 3")
	s.want("two from the second on", s.records(1, 2), "1 2")
	s.want("beyond the end", s.records(4, 10), "")
	s.want("the last", s.records(-1, 10), "3")
	s.want("more than there are, from the end", s.records(-10, 2), "0 1")
}

func testCutLog(t *testing.T, s *store) {
	for i := range 6 {
		if _, err := s.Commit(t.Context(), change.Tx{Append: []change.Record{{Log: "log", Data: fmt.Append(nil, i), Keep: 3}}}); err != nil {
			t.Fatal(err)
		}
	}
	s.want("all that is left", s.records(0, 10), "3 4 5")
	s.want("the others keep their indexes", s.records(4, 10), "4 5")
	s.want("the last two", s.records(-2, 10), "4 5")
	s.want("further back than what is left", s.records(-5, 2), "3 4")
}
