package syncer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

const webNamespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: web}\n"

func inWeb(name string) string {
	return strings.Replace(configMap(name, "one"), "namespace: default", "namespace: web", 1)
}

// shared is a world in which one owns the Namespace web and two an object in it.
func shared(t *testing.T, r *listener) *world {
	t.Helper()
	w := newWorldWith(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"cluster/two.yaml": nested("two", "./two", "  dependsOn: [{name: one}]\n"),
		"one/ns.yaml":      webNamespace, "one/own.yaml": inWeb("own"), "two/x.yaml": inWeb("x"),
	}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "cluster" }, func(c *syncer.Config) { c.Events = r })
	w.eventually("all is applied", func() bool {
		return w.store.Get(key("ConfigMap", "web", "x")) != nil && w.store.Get(key("ConfigMap", "web", "own")) != nil
	})
	return w
}

// A Kustomization that is deleted leaves its Namespace, for what another
// declares in it, and says so; so does the plan. Once the other is gone, too,
// nothing stands in the way.
func TestDeletedOwnerOfASharedNamespace(t *testing.T) {
	r := &listener{}
	w := shared(t, r)
	w.branch("drop-one", map[string]string{"cluster/one.yaml": "", "cluster/two.yaml": nested("two", "./two", "")})
	p := w.plan(wire.PlanRequest{Rev: "drop-one"})
	if got := strings.Join(actionsOf(p), "; "); !strings.Contains(got, "Skip Namespace/web") || strings.Contains(got, "Delete Namespace/web") || !strings.Contains(got, "Delete ConfigMap/own") {
		t.Errorf("the plan: %s, want the Namespace to stay and own to go", got)
	}
	check(t, p, wire.CheckWarning, "spec.prune", "Namespace/web is not deleted: the Kustomization headway-system/two declares ConfigMap web/x in it")
	git(t, w.work, "merge", "-q", "--ff-only", "drop-one")
	w.push("drop one")
	w.eventually("one is gone", func() bool { return w.store.Get(key("Kustomization", "headway-system", "one")) == nil })
	w.eventually("what it had alone is gone", func() bool { return w.store.Get(key("ConfigMap", "web", "own")) == nil })
	if ns := w.store.Get(key("Namespace", "", "web")); ns == nil || ns.GetDeletionTimestamp() != nil {
		t.Error("the Namespace was deleted with what another declares in it")
	}
	if w.store.Get(key("ConfigMap", "web", "x")) == nil {
		t.Error("x was deleted")
	}
	w.eventually("an event tells", func() bool {
		return strings.Contains(w.said(r), "Namespace/web is not deleted: the Kustomization headway-system/two declares ConfigMap web/x in it")
	})
}

// A commit that would delete a Namespace with what another Kustomization
// declares in it is refused, by the plan, too; one that drops both is not.
func TestPrunedSharedNamespace(t *testing.T) {
	w := shared(t, &listener{})
	w.write(map[string]string{"one/ns.yaml": "", "one/own.yaml": "", "one/keep.yaml": configMap("keep", "one")})
	w.push("drop the namespace")
	const want = "Namespace web: is no longer declared, and would be deleted with all that is in it, ConfigMap web/x of the Kustomization headway-system/two included: declare it, or move those objects"
	w.eventually("the commit is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False ReconciliationFailed "+want) })
	if p := w.plan(wire.PlanRequest{Kustomization: "headway-system/one"}); len(p.Errors) != 1 || p.Errors[0].Message != want {
		t.Errorf("the plan's errors are %+v", p.Errors)
	}
	if w.store.Get(key("ConfigMap", "web", "x")) == nil {
		t.Error("x was deleted")
	}
	w.write(map[string]string{"two/x.yaml": "", "two/keep.yaml": configMap("keep2", "one")})
	w.push("drop x, too")
	w.eventually("the Namespace goes", func() bool {
		ns := w.store.Get(key("Namespace", "", "web"))
		return ns == nil || ns.GetDeletionTimestamp() != nil
	})
}

// What cannot be rendered keeps only what its files name exactly; that is said,
// and ends when it goes.
func TestBrokenNeighbour(t *testing.T) {
	broken := map[string]string{
		"other":     configMap("gone-too", "x") + "bad: 1\n",
		"substring": configMap("gone-a", "gone") + "bad: 1\n",
		"value":     configMap("else", "gone") + "bad: 1\n",
		"kind":      "apiVersion: v1\nkind: Secret\nmetadata: {name: gone, namespace: default}\nbad: 1\n",
		"namespace": strings.Replace(configMap("gone", "x"), "namespace: default", "namespace: web", 1) + "bad: 1\n",
	}
	exact := map[string]string{
		"exact":                  configMap("gone", "x") + "bad: 1\n",
		"no YAML":                configMap("gone", "x") + "  : : [\n",
		"generator":              "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamePrefix: go\nnamespace: default\nconfigMapGenerator: [{name: ne, literals: [a=b]}]\nbad: 1\n",
		"variable":               configMap("${n}e", "x") + "bad: 1\n",
		"no YAML, and countless": "kind: ConfigMap\nname: gone\n  : : [\n" + strings.Repeat("kind: A\nname: b\n", 60_000),
		"in the list":            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: gone, namespace: default}, bad: 1}\n",
	}
	for _, group := range []struct {
		files map[string]string
		stays bool
	}{{broken, false}, {exact, true}} {
		for name, text := range group.files {
			t.Run(name, func(t *testing.T) {
				file := "two/bad.yaml"
				if name == "generator" {
					file = "two/kustomization.yaml"
				}
				w := mono(t, map[string]string{
					"cluster/one.yaml": nested("one", "./one", ""), "cluster/two.yaml": nested("two", "./two", ""),
					"one/gone.yaml": configMap("gone", "one"), "one/keep.yaml": configMap("keep", "one"), file: text,
				})
				w.eventually("all is applied", func() bool {
					return w.configMap("gone") != nil && strings.HasPrefix(w.readyOf("two"), "False BuildFailed")
				})
				w.write(map[string]string{"one/gone.yaml": ""})
				sha := w.push("drop it")
				w.eventually("one has applied it", func() bool {
					return w.readyOf("one") == "True ReconciliationSucceeded Applied revision: main@sha1:"+sha
				})
				if !group.stays {
					w.eventually("it is pruned", func() bool { return w.configMap("gone") == nil })
					return
				}
				if w.configMap("gone") == nil {
					t.Fatal("it was deleted although its successor only has a typing error")
				}
				words := "1 object no longer declared, and not deleted: ConfigMap/default/gone (the Kustomization headway-system/two, which cannot be rendered, may take it over)"
				if got := w.conditionOf("one", "headway.dev/Unpruned"); !strings.HasPrefix(got, "True PruneSkipped main@sha1:"+sha+": "+words) {
					t.Errorf("the condition is %q, want it to say %q", got, words)
				}
				if st := w.sync.Status(); !strings.Contains(fmt.Sprintf("%+v", st), words) {
					t.Errorf("the status does not say %q: %+v", words, st)
				}
				// The culprit goes.
				w.write(map[string]string{"cluster/two.yaml": ""})
				w.push("drop two")
				w.eventually("it is pruned", func() bool { return w.configMap("gone") == nil })
				w.eventually("nothing is said any more", func() bool { return w.conditionOf("one", "headway.dev/Unpruned") == "" })
			})
		}
	}
}

// A Kustomization of another source keeps nothing because it is broken.
func TestBrokenNeighbourOfAnotherSource(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"cluster/src.yaml": "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: other, namespace: headway-system}\nspec: {interval: 1h, url: \"https://127.0.0.1:1/none\"}\n",
		"cluster/two.yaml": strings.Replace(nested("two", "./two", ""), "kind: GitRepository, name: cluster", "kind: GitRepository, name: other", 1),
		"one/gone.yaml":    configMap("gone", "one"), "one/keep.yaml": configMap("keep", "one"),
	})
	w.eventually("it is applied", func() bool { return w.configMap("gone") != nil })
	w.write(map[string]string{"one/gone.yaml": ""})
	w.push("drop it")
	w.eventually("it is pruned", func() bool { return w.configMap("gone") == nil })
}

// A plan of a handover is what the sync makes of it, also where the commit
// renames a Kustomization or gives it another directory.
func TestPlanOfAMove(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"git mv": {map[string]string{"one/a.yaml": "", "two/a.yaml": configMap("a", "one")}, []string{"Skip ConfigMap/a", "Update ConfigMap/a"}},
		"rename": {
			map[string]string{"cluster/one.yaml": "", "cluster/uno.yaml": nested("uno", "./one", "")},
			[]string{"Create Kustomization/uno", "Delete Kustomization/one", "Update ConfigMap/a", "Update ConfigMap/keep1", "Skip ConfigMap/keep1", "Skip ConfigMap/a"},
		},
		"swap": {
			map[string]string{"cluster/one.yaml": nested("one", "./two", ""), "cluster/two.yaml": nested("two", "./one", "")},
			[]string{"Update Kustomization/one", "Update Kustomization/two", "Update ConfigMap/a", "Skip ConfigMap/a", "Update ConfigMap/keep1", "Skip ConfigMap/keep1", "Update ConfigMap/keep2", "Skip ConfigMap/keep2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := mono(t, map[string]string{
				"cluster/one.yaml": nested("one", "./one", ""), "cluster/two.yaml": nested("two", "./two", ""),
				"one/a.yaml": configMap("a", "one"), "one/keep.yaml": configMap("keep1", "one"), "two/keep.yaml": configMap("keep2", "one"),
			})
			w.eventually("all is applied", func() bool {
				return w.configMap("a") != nil && w.configMap("keep1") != nil && w.configMap("keep2") != nil
			})
			life := w.life("a")
			w.branch("move", c.files)
			p := w.plan(wire.PlanRequest{Rev: "move"})
			if len(p.Errors) > 0 {
				t.Errorf("the plan has errors: %+v", p.Errors)
			}
			got := map[string]int{}
			for _, a := range actionsOf(p) {
				got[a]++
			}
			for _, a := range c.want {
				if got[a]--; got[a] < 0 {
					t.Errorf("the plan lacks %q: %q", a, actionsOf(p))
				}
			}
			for _, a := range p.Actions {
				if a.Action == "Delete" && a.Kind == "ConfigMap" {
					t.Errorf("the plan deletes %s", a.Name)
				}
			}
			git(t, w.work, "merge", "-q", "--ff-only", "move")
			sha := w.push("move")
			w.applied(sha)
			w.eventually("a has its new owner", func() bool { return w.ownerOf("a") != "one" })
			if w.life("a") != life {
				t.Error("a was deleted on its way")
			}
		})
	}
}

func actionsOf(p wire.Plans) []string {
	var list []string
	for _, a := range p.Actions {
		list = append(list, a.Action+" "+a.Kind+"/"+a.Name)
	}
	return list
}

// conditionOf is "status reason message" of a Kustomization's condition.
func (w *world) conditionOf(name, typ string) string {
	ks, ok := w.store.Get(key("Kustomization", "headway-system", name)).(*kustomizev1.Kustomization)
	if !ok {
		return "gone"
	}
	c := apimeta.FindStatusCondition(ks.Status.Conditions, typ)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason + " " + c.Message
}

// Flux's words count as labels and annotations, in any case, and outlive the
// manifest and the Kustomization.
func TestWordsOutliveTheManifest(t *testing.T) {
	words := []string{
		"annotations: {kustomize.toolkit.fluxcd.io/prune: Disabled}", "labels: {kustomize.toolkit.fluxcd.io/prune: DISABLED}",
		"annotations: {kustomize.toolkit.fluxcd.io/reconcile: Disabled}", "labels: {kustomize.toolkit.fluxcd.io/reconcile: disabled}",
		"annotations: {kustomize.toolkit.fluxcd.io/ssa: ignore}", "labels: {kustomize.toolkit.fluxcd.io/ssa: Ignore}",
	}
	for _, way := range []string{"manifest", "Kustomization"} {
		t.Run(way, func(t *testing.T) {
			files := map[string]string{"cluster/one.yaml": nested("one", "./one", "  wait: true\n  timeout: 30s\n"), "one/keep.yaml": configMap("keep", "x")}
			for i := range words {
				files[fmt.Sprintf("one/a%d.yaml", i)] = configMap(fmt.Sprint("a", i), "one")
			}
			w := mono(t, files)
			w.eventually("all is applied", func() bool { return strings.HasPrefix(w.readyOf("one"), "True") })
			// The words are given by hand, as they are where somebody takes an object
			// out of Git's hands.
			for i, word := range words {
				kind, value, _ := strings.Cut(strings.Trim(word, "}"), ": {")
				k, v, _ := strings.Cut(value, ": ")
				w.commit(change.Patch(key("ConfigMap", "default", fmt.Sprint("a", i)), func(o object.Object) bool {
					if kind == "labels" {
						o.GetLabels()[k] = v
					} else {
						o.SetAnnotations(map[string]string{k: v})
					}
					return true
				}))
			}
			gone := map[string]string{}
			if way == "Kustomization" {
				w.commit(change.Delete(key("Kustomization", "headway-system", "one"), metav1.DeleteOptions{}, time.Now()))
				gone["cluster/one.yaml"], gone["cluster/keep.yaml"] = "", configMap("other", "x")
			} else {
				for i := range words {
					gone[fmt.Sprintf("one/a%d.yaml", i)] = ""
				}
			}
			w.write(gone)
			w.applied(w.push("drop them"))
			if way == "manifest" {
				w.eventually("one has done it", func() bool { return !w.has("one", "default_a0__ConfigMap") })
			} else {
				w.eventually("keep is gone", func() bool { return w.configMap("keep") == nil })
			}
			for i, word := range words {
				if w.configMap(fmt.Sprint("a", i)) == nil {
					t.Errorf("%s: deleted", word)
				}
			}
		})
	}
}

// What is left alone is not waited for.
func TestLeftAloneIsNotChecked(t *testing.T) {
	stuck := strings.Replace(deployment("none"), "metadata:\n", "metadata:\n  annotations: {kustomize.toolkit.fluxcd.io/ssa: ignore}\n", 1)
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "d.yaml": stuck}, waitForHealth)
	w.applied(w.main())
	if w.deployment() != nil {
		t.Error("the Deployment was applied")
	}
}

// A changed health check is judged at once, and not with the next commit.
func TestChangedHealthChecksAreJudged(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(w.main())
	spec := func(edit func(*kustomizev1.KustomizationSpec)) {
		t.Helper()
		w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
			edit(&o.(*kustomizev1.Kustomization).Spec)
			return true
		}))
	}
	spec(func(s *kustomizev1.KustomizationSpec) {
		s.HealthChecks = []meta.NamespacedObjectKindReference{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "default", Name: "none"}}
		s.Timeout = &metav1.Duration{Duration: time.Second}
	})
	w.eventually("what is not there is missed", func() bool {
		return strings.HasPrefix(w.ready("Kustomization"), "False HealthCheckFailed") && strings.Contains(w.ready("Kustomization"), "ConfigMap/default/none")
	})
	spec(func(s *kustomizev1.KustomizationSpec) { s.HealthChecks[0].Name = "a" })
	w.applied(w.main())
}
