package syncer_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
	"headway.dev/syncer"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/wire"
)

// workLog keeps what the syncer logs about the work of each applied commit.
type workLog struct {
	slog.Handler
	mu   sync.Mutex
	work []string
}

func (l *workLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "applied" {
		return nil
	}
	line := ""
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "objects", "rendered", "compared", "changes":
			line += fmt.Sprintf("%s=%v ", a.Key, a.Value)
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work = append(l.work, line)
	return nil
}

func (l *workLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *workLog) WithAttrs([]slog.Attr) slog.Handler       { return l }

// line is the n-th line, or empty.
func (l *workLog) line(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.work) <= n {
		return ""
	}
	return l.work[n]
}

// A commit costs what it touches: no other object is decoded, rendered, or
// applied onto what is stored, in plain directories as in kustomizations; and
// what others change meanwhile is noticed all the same.
func TestWorkIsProportionalToTheChange(t *testing.T) {
	for name, kustomizations := range map[string]bool{"plain": false, "kustomizations": true} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for i := range 5 {
				resources := "resources:\n"
				for j := range 4 {
					files[fmt.Sprintf("app%d/c%d.yaml", i, j)] = configMap(fmt.Sprintf("c%d%d", i, j), "one")
					resources += fmt.Sprintf("- c%d.yaml\n", j)
				}
				if kustomizations {
					files[fmt.Sprintf("app%d/kustomization.yaml", i)] = resources
				}
			}
			log := &workLog{Handler: slog.DiscardHandler}
			w := newWorldWith(t, files, nil, func(c *syncer.Config) { c.Log = slog.New(log) })
			n := 0
			check := func(what, want string) {
				t.Helper()
				w.eventually(what+" is logged", func() bool { return log.line(n) != "" })
				if got := log.line(n); got != want {
					t.Errorf("%s: %s, want %s", what, got, want)
				}
				n++
			}
			step := func(what, want string, files map[string]string) {
				t.Helper()
				w.write(files)
				w.applied(w.push(what))
				check(what, want)
			}
			rendered := 1
			if kustomizations {
				rendered = 4 // a kustomization is rendered as a whole
			}
			check("first commit", "objects=20 rendered=20 compared=20 changes=20 ")
			step("one line", fmt.Sprintf("objects=20 rendered=%d compared=1 changes=1 ", rendered), map[string]string{"app3/c2.yaml": configMap("c32", "two")})
			step("the same line", fmt.Sprintf("objects=20 rendered=%d compared=1 changes=1 ", rendered), map[string]string{"app3/c2.yaml": configMap("c32", "three")})
			step("no manifest", "objects=20 rendered=0 compared=0 changes=0 ", map[string]string{"README.md": "# Hello\n"})

			// The plan of a branch knows as much, and leaves no trace.
			w.branch("next", map[string]string{"app1/c1.yaml": configMap("c11", "two")})
			plan, err := w.sync.Plan(t.Context(), wire.PlanRequest{Rev: "next"})
			if err != nil || plan.Summary.Update != 1 || plan.Summary.Unchanged != 19 {
				t.Errorf("plan: %+v, %v, want one update", plan.Summary, err)
			}
			// What is changed by hand is put back, and seen by a plan before.
			w.commit(change.Patch(key("ConfigMap", "default", "c00"), func(o object.Object) bool {
				o.(*corev1.ConfigMap).Data["key"] = "by hand"
				return true
			}))
			w.eventually("the edit is put back", func() bool { return w.configMap("c00")["key"] == "one" })
			check("drift", "objects=20 rendered=0 compared=1 changes=1 ")
			step("after drift", fmt.Sprintf("objects=20 rendered=%d compared=1 changes=1 ", rendered), map[string]string{"app1/c1.yaml": configMap("c11", "two")})
		})
	}
}

// hasty is a store in which somebody edits an object the moment it is there.
type hasty struct {
	*memstore.Store
	edit change.Change
	once sync.Once
}

func (s *hasty) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	states, err := s.Store.Commit(ctx, tx)
	for _, c := range tx.Changes {
		if err == nil && c.Key == s.edit.Key {
			s.once.Do(func() {
				_, err = s.Store.Commit(ctx, change.Tx{Changes: []change.Change{s.edit}})
				<-time.After(200 * time.Millisecond) // all who watch have seen it
			})
		}
	}
	return states, err
}

// An edit by hand is put back also if it is made before the syncer has noted
// that the object is its own.
func TestEditRightAfterTheCommitIsPutBack(t *testing.T) {
	edited := make(chan struct{})
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, nil, func(c *syncer.Config) {
		store, ok := c.Store.(*memstore.Store)
		if !ok {
			t.Fatalf("the store is a %T", c.Store)
		}
		c.Store = &hasty{Store: store, edit: change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
			o.(*corev1.ConfigMap).Data["key"] = "by hand"
			close(edited)
			return true
		})}
	})
	<-edited
	w.eventually("the edit is put back", func() bool { return w.configMap("a")["key"] == "one" })
}
