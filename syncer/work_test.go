package syncer_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/flux"
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

// hasty is a store in which something happens the moment an object is there,
// before the syncer knows that it has stored it.
type hasty struct {
	*memstore.Store
	at   object.Key
	then func(ctx context.Context)
	once sync.Once
}

func (s *hasty) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	states, err := s.Store.Commit(ctx, tx)
	for _, c := range tx.Changes {
		if err == nil && c.Key == s.at {
			s.once.Do(func() { s.then(ctx) })
		}
	}
	return states, err
}

// hurried makes the store of a world a hasty one.
func hurried(t *testing.T, at object.Key, then func(context.Context, *memstore.Store)) func(*syncer.Config) {
	t.Helper()
	return func(c *syncer.Config) {
		store, ok := c.Store.(*memstore.Store)
		if !ok {
			t.Fatalf("the store is a %T", c.Store)
		}
		c.Store = &hasty{Store: store, at: at, then: func(ctx context.Context) { then(ctx, store) }}
	}
}

// An edit by hand is put back also if it is made before the syncer has noted
// that the object is its own.
func TestEditRightAfterTheCommitIsPutBack(t *testing.T) {
	edited := make(chan error, 1)
	at := key("ConfigMap", "default", "a")
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, nil, hurried(t, at, func(ctx context.Context, store *memstore.Store) {
		_, err := store.Commit(ctx, change.Tx{Changes: []change.Change{change.Patch(at, func(o object.Object) bool {
			o.(*corev1.ConfigMap).Data["key"] = "by hand"
			return true
		})}})
		for ctx.Err() == nil && !store.Handled() {
			runtime.Gosched() // all who watch are to have seen it
		}
		edited <- err
	}))
	if err := <-edited; err != nil {
		t.Fatal(err)
	}
	w.eventually("the edit is put back", func() bool { return w.configMap("a")["key"] == "one" })
}

// A write by hand is reviewed also if it comes that early.
func TestWriteRightAfterTheCommitIsJudged(t *testing.T) {
	reviewed := make(chan error, 1)
	at := key("ConfigMap", "default", "b")
	var w *world
	w = newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Annotations = map[string]string{flux.GitWrites: "reject"}
	}, hurried(t, at, func(ctx context.Context, store *memstore.Store) {
		old := store.Get(at)
		next, _ := old.DeepCopyObject().(*corev1.ConfigMap)
		next.Data["key"] = "by hand"
		_, err := w.sync.Review(ctx, change.Request{User: "ada", Old: old, Next: next})
		reviewed <- err
	}))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"b.yaml": configMap("b", "one")})
	w.push("add b")
	if err := <-reviewed; !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "b.yaml") {
		t.Errorf("the write: %v, want it forbidden with the file that owns the field", err)
	}
}
