package progress_test

import (
	"testing"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/progress"
)

// states are loops that stand where they are said to.
type states map[object.Key]progress.State

func (s states) State(key object.Key) (progress.State, bool) {
	st, ok := s[key]
	return st, ok
}

func (s states) Again(object.Key) {}

// What blocks is looked for by way of all that is waited for, also in a circle,
// and only by what failed to apply the revision.
func TestBlockedBy(t *testing.T) {
	key := func(name string) object.Key {
		return object.Key{GroupKind: flux.Kustomization, Namespace: "default", Name: name}
	}
	after := func(names ...string) (st progress.State) {
		for _, name := range names {
			st.WaitsFor = append(st.WaitsFor, key(name))
		}
		return st
	}
	all := states{
		key("a"): after("b", "gone"), key("b"): after("c"), key("c"): after("a", "failed"),
		key("failed"): {Revision: "two"}, key("good"): {Revision: "two", OK: true},
		key("d"): after("good", "older"), key("older"): {Revision: "one"},
	}
	for _, c := range []struct{ of, blocks string }{
		{"a", "failed"}, {"c", "failed"}, {"d", ""}, {"failed", ""}, {"gone", ""},
	} {
		got, ok := progress.BlockedBy(all, key(c.of), "two")
		if ok != (c.blocks != "") || got.Name != c.blocks {
			t.Errorf("%s is blocked by %q (%v), want %q", c.of, got.Name, ok, c.blocks)
		}
	}
}
