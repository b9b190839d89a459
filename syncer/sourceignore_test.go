package syncer_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// A .sourceignore file, wherever it is, counts for syncs, plans of commits and
// plans of files alike, also when nothing else of a directory changes; what
// spec.ignore says counts more.
func TestSourceIgnore(t *testing.T) {
	broken := "no: [manifest\n"
	w := newWorld(t, map[string]string{
		"apps/a.yaml": configMap("a", "one"), "apps/b.yaml": configMap("b", "one"), "apps/logo.png": "x",
	}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./apps" })
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	step := func(subject string, files map[string]string, want ...string) {
		t.Helper()
		w.branch("next", files)
		plans := map[string]wire.Plans{"commit": w.plan(wire.PlanRequest{Rev: "next"})}
		git(t, w.work, "merge", "-q", "--ff-only", "next")
		git(t, w.work, "branch", "-q", "-D", "next")
		all := map[string]string{}
		for name := range strings.SplitSeq(git(t, w.work, "ls-files"), "\n") {
			data, err := os.ReadFile(w.work + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(data)
		}
		plans["files"] = w.plan(wire.PlanRequest{Files: all, Path: "apps"})
		for name, p := range plans {
			if got := actionsOf(p); !slices.Equal(got, want) || len(p.Errors) > 0 {
				t.Errorf("%s: the plan of the %s: %q %+v, want %q", subject, name, got, p.Errors, want)
			}
		}
		w.applied(w.push(subject))
	}
	step("leave b out at the root", map[string]string{".sourceignore": "# tests\nb.yaml\n"}, "Delete ConfigMap/b")
	if w.configMap("b") != nil {
		t.Error("b stays although it is left out")
	}
	step("what is broken and left out", map[string]string{"apps/.sourceignore": "/tests\n", "apps/tests/t.yaml": broken})
	step("take b back", map[string]string{".sourceignore": "", "apps/.sourceignore": "/tests\n/a.yaml\n"}, "Create ConfigMap/b", "Delete ConfigMap/a")
	if w.configMap("a") != nil || w.configMap("b")["key"] != "one" {
		t.Errorf("a = %v, b = %v", w.configMap("a"), w.configMap("b"))
	}
	w.commit(change.Patch(key("GitRepository", "headway-system", "cluster"), func(o object.Object) bool {
		ignore := "!a.yaml\n"
		o.(*sourcev1.GitRepository).Spec.Ignore = &ignore
		return true
	}))
	w.eventually("spec.ignore brings a back", func() bool { return w.configMap("a")["key"] == "one" })
}
