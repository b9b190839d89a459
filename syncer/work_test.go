package syncer_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
	"headway.dev/syncer"
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

func (l *workLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.work) == 0 {
		return ""
	}
	return l.work[len(l.work)-1]
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
			w.applied(git(t, w.work, "rev-parse", "HEAD"))
			step := func(what, want string, files map[string]string) {
				t.Helper()
				w.write(files)
				w.applied(w.push(what))
				if got := log.last(); got != want {
					t.Errorf("%s: %s, want %s", what, got, want)
				}
			}
			rendered := 1
			if kustomizations {
				rendered = 4 // a kustomization is rendered as a whole
			}
			if got, want := log.last(), "objects=20 rendered=20 compared=20 changes=20 "; got != want {
				t.Errorf("first commit: %s, want %s", got, want)
			}
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
			step("after drift", fmt.Sprintf("objects=20 rendered=%d compared=1 changes=1 ", rendered), map[string]string{"app1/c1.yaml": configMap("c11", "two")})
		})
	}
}
