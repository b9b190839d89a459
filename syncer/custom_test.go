package syncer_test

import (
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

const widgets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, maximum: 10}
              color: {type: string, default: red}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`

func widget(name string, size int) string {
	return fmt.Sprintf("apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: %s\nspec:\n  size: %d\n", name, size)
}

func widgetKey(name string) object.Key {
	return object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Widget"}, Namespace: "default", Name: name}
}

var widgetsKey = object.Key{GroupKind: apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition").GroupKind(), Name: "widgets.example.com"}

// size is that of a stored Widget, 0 if there is none.
func (w *world) size(name string) int64 {
	u, ok := w.store.Get(widgetKey(name)).(*unstructured.Unstructured)
	if !ok {
		return 0
	}
	size, _, _ := unstructured.NestedInt64(u.Object, "spec", "size")
	return size
}

// accept does what the controllers of definitions do.
func (w *world) accept() {
	w.t.Helper()
	w.commit(change.PatchStatus(widgetsKey, func(o object.Object) bool {
		crd := o.(*apiextensionsv1.CustomResourceDefinition)
		crd.Status.AcceptedNames = crd.Spec.Names
		crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
		return true
	}))
}

// editB changes the stored Widget b.
func (w *world) editB(edit func(*unstructured.Unstructured)) {
	w.t.Helper()
	w.commit(change.Change{Key: widgetKey("b"), Mutate: func(current object.Object) (object.Object, error) {
		u := current.(*unstructured.Unstructured).DeepCopy()
		edit(u)
		return u, nil
	}})
}

// One commit has a definition and its resources; later ones edit, refuse, revert and
// remove them, and what is changed by hand is healed.
func TestCustomResources(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.Wait = true
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))

	w.write(map[string]string{"crd.yaml": widgets, "b.yaml": widget("b", 1)})
	first := w.push("a definition and a resource")
	w.eventually("the resource is stored", func() bool { return w.size("b") == 1 })
	w.accept()
	w.applied(first)
	inventory := fmt.Sprint(w.ks().Status.Inventory.Entries)
	if !strings.Contains(inventory, "{default_b_example.com_Widget v1}") {
		t.Errorf("inventory = %s", inventory)
	}

	// The schema refuses one: nothing of the commit is stored.
	w.write(map[string]string{"a.yaml": configMap("a", "two"), "b.yaml": widget("b", 99)})
	w.push("too large")
	w.eventually("the commit is refused", func() bool {
		return strings.HasPrefix(w.ready("Kustomization"), "False ReconciliationFailed b.yaml:6: Widget default/b: spec.size: Invalid value: 99: spec.size in body should be less than or equal to 10")
	})
	if w.size("b") != 1 || w.configMap("a")["key"] != "one" {
		t.Error("something of the refused commit is stored")
	}

	w.write(map[string]string{"b.yaml": widget("b", 2), "c.yaml": widget("c", 3)})
	second := w.push("two")
	w.applied(second)
	if w.size("b") != 2 || w.size("c") != 3 {
		t.Errorf("sizes = %d, %d", w.size("b"), w.size("c"))
	}

	// By hand: what Git has is put back, the status and what others own stay.
	w.editB(func(u *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(u.Object, int64(7), "spec", "size")
		_ = unstructured.SetNestedField(u.Object, "blue", "spec", "color")
		_ = unstructured.SetNestedField(u.Object, "fine", "status", "word")
	})
	w.eventually("the drift is healed", func() bool { return w.size("b") == 2 })
	u := w.store.Get(widgetKey("b")).(*unstructured.Unstructured)
	color, _, _ := unstructured.NestedString(u.Object, "spec", "color")
	word, _, _ := unstructured.NestedString(u.Object, "status", "word")
	if color != "blue" || word != "fine" {
		t.Errorf("color = %q, status.word = %q", color, word)
	}

	// A plan of what is not pushed tells the fields, and the log the commits.
	w.branch("next", map[string]string{"b.yaml": widget("b", 5), "c.yaml": ""})
	plans := w.plan(wire.PlanRequest{Rev: "next"})
	var actions []string
	for _, a := range plans.Actions {
		line := a.Action + " " + a.Kind + "/" + a.Name
		for _, f := range a.Fields {
			line += fmt.Sprintf(" %s %v>%v", f.Path, f.Old, f.New)
		}
		actions = append(actions, line)
	}
	if got := strings.Join(actions, "\n"); got != "Update Widget/b spec.size 2>5\nDelete Widget/c" {
		t.Errorf("plan: %s", got)
	}
	entries, err := w.sync.Log("wd", "default", "b", -1, 10)
	if err != nil || len(entries) < 2 {
		t.Errorf("log: %d entries, %v", len(entries), err)
	}

	if got := w.blame("widgets", "b")["spec.size"]; got != fmt.Sprintf("%.7s Ada b.yaml:6 manifest", second) {
		t.Errorf("blame of spec.size: %q", got)
	}

	// A revert takes a commit back: what it edited, and what it brought.
	w.write(map[string]string{"b.yaml": widget("b", 4), "d.yaml": widget("d", 4)})
	third := w.push("three")
	w.applied(third)
	git(t, w.work, "revert", "--no-edit", third)
	w.applied(w.push("reverted"))
	if w.size("b") != 2 || w.size("d") != 0 {
		t.Errorf("after the revert: %d, %d", w.size("b"), w.size("d"))
	}

	// All of it goes in one commit.
	w.write(map[string]string{"b.yaml": "", "c.yaml": "", "crd.yaml": ""})
	w.applied(w.push("remove"))
	if w.store.Get(widgetKey("b")) != nil {
		t.Error("b is still there")
	}
	if crd := w.store.Get(widgetsKey); crd != nil && crd.GetDeletionTimestamp() == nil {
		t.Error("the definition is still there")
	}
}

// Without the definition a commit is refused with the reason, and applied once that is
// there, however it comes. The health of what is applied is kstatus'. If the definition
// goes, the reason is told again.
func TestCustomResourcesOfAnotherDefinition(t *testing.T) {
	w := newWorld(t, map[string]string{"b.yaml": widget("b", 1)}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.Wait = true
	})
	head := git(t, w.work, "rev-parse", "HEAD")
	const missing = `False ReconciliationFailed b.yaml:2: Widget b: kind: no matches for kind "Widget" in version "example.com/v1"`
	w.eventually(missing, func() bool { return w.ready("Kustomization") == missing })

	items, err := load.Bytes("crd.yaml", []byte(widgets))
	if err != nil {
		t.Fatal(err)
	}
	w.create(items[0].Object)
	w.accept()
	w.applied(head)

	condition := func(typ, status, message string, observed int64) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) {
			u.Object["status"] = map[string]any{"observedGeneration": observed, "conditions": []any{map[string]any{"type": typ, "status": status, "reason": "R", "message": message}}}
		}
	}
	w.editB(condition("Ready", "False", "has not begun", 1))
	w.write(map[string]string{"b.yaml": widget("b", 2)})
	second := w.push("two")
	w.eventually("it is waited for", func() bool {
		return w.size("b") == 2 && strings.HasPrefix(w.ready("Kustomization"), "Unknown Progressing") && w.ks().Status.LastAppliedRevision == "main@sha1:"+second
	})
	w.editB(condition("Stalled", "True", "out of paint", 2))
	w.eventually("it has failed", func() bool {
		r := w.ready("Kustomization")
		return strings.HasPrefix(r, "False HealthCheckFailed") && strings.Contains(r, "out of paint")
	})
	w.editB(condition("Ready", "True", "is done", 2))
	w.applied(second)

	w.commit(change.Change{Key: widgetKey("b"), Mutate: func(object.Object) (object.Object, error) { return nil, nil }},
		change.Change{Key: widgetsKey, Mutate: func(object.Object) (object.Object, error) { return nil, nil }})
	w.eventually("the definition is missing", func() bool { return strings.Contains(w.ready("Kustomization"), "no matches for kind") })
}

// A definition of one Kustomization and a resource of another come in one commit, which
// the plan says before. Neither a commit that drops the definition nor the end of its
// Kustomization takes the other's resource away, and both say why; one that drops both
// does.
func TestDefinitionOfAnotherKustomization(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""), "cluster/two.yaml": nested("two", "./two", ""),
		"one/keep.yaml": configMap("keep", "zero"), "two/keep.yaml": configMap("keep2", "zero"),
	})
	w.eventually("all is applied", func() bool { return w.configMap("keep") != nil && w.configMap("keep2") != nil })
	w.branch("both", map[string]string{"one/crd.yaml": widgets, "two/b.yaml": widget("b", 1)})
	p := w.plan(wire.PlanRequest{Rev: "both"})
	if got := strings.Join(actionsOf(p), "; "); len(p.Errors) > 0 || !strings.Contains(got, "Create CustomResourceDefinition/widgets.example.com") || !strings.Contains(got, "Create Widget/b") {
		t.Errorf("the plan: %s, %+v", got, p.Errors)
	}
	git(t, w.work, "merge", "-q", "--ff-only", "both")
	w.push("both")
	w.eventually("the definition is there", func() bool { return w.store.Get(widgetsKey) != nil })
	w.accept()
	w.eventually("both are there", func() bool { return w.size("b") == 1 })
	w.eventually("two is ready", func() bool { return strings.HasPrefix(w.readyOf("two"), "True") })

	const goes = "Widget default/b of the Kustomization headway-system/two included: declare it, or remove those objects"
	const want = "CustomResourceDefinition widgets.example.com: is no longer declared, and would be deleted with all objects of its kind, " + goes
	w.branch("drop-one", map[string]string{"cluster/one.yaml": ""})
	p = w.plan(wire.PlanRequest{Rev: "drop-one"})
	check(t, p, wire.CheckWarning, "spec.prune", "CustomResourceDefinition/widgets.example.com is not deleted: the Kustomization headway-system/two declares Widget default/b, which would go with it")
	git(t, w.work, "checkout", "-q", "main")
	w.write(map[string]string{"one/crd.yaml": ""})
	w.push("drop the definition")
	w.eventually("the commit is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False ReconciliationFailed "+want) })
	if p := w.plan(wire.PlanRequest{Kustomization: "headway-system/one"}); len(p.Errors) != 1 || p.Errors[0].Message != want {
		t.Errorf("the plan's errors are %+v", p.Errors)
	}
	if w.size("b") != 1 || w.store.Get(widgetsKey) == nil {
		t.Error("something was deleted")
	}
	w.write(map[string]string{"two/b.yaml": ""})
	w.push("drop the resource, too")
	w.eventually("both go", func() bool {
		crd := w.store.Get(widgetsKey)
		return w.size("b") == 0 && (crd == nil || crd.GetDeletionTimestamp() != nil)
	})
}

// What a user writes to a custom resource that Git declares is written where Git sets
// it: in a patch, or in the manifest, with its comments. Blame knows a field of a patch
// and a default.
func TestCustomWrites(t *testing.T) {
	w := newWorld(t, map[string]string{
		"crd.yaml":           widgets,
		"b.yaml":             "# The widget.\n" + widget("b", 1),
		"kustomization.yaml": "namespace: default\nresources: [crd.yaml, b.yaml]\npatches:\n# larger\n- target: {kind: Widget}\n  patch: |-\n    - {op: replace, path: /spec/size, value: 3} # of 10\n",
	}, writesCommit)
	w.eventually("the resource is stored", func() bool { return w.size("b") == 3 })
	w.accept()
	w.applied(w.main())
	paint := func(field string, value any) error {
		return w.hand(change.Request{User: "ada"}, widgetKey("b"), func(o object.Object) {
			_ = unstructured.SetNestedField(o.(*unstructured.Unstructured).Object, value, "spec", field)
		})
	}
	if err := paint("size", int64(4)); err != nil {
		t.Fatal(err)
	}
	if got := git(t, w.bare, "show", "main:kustomization.yaml"); w.size("b") != 4 || !strings.Contains(got, "# larger") || !strings.Contains(got, "- {op: replace, path: /spec/size, value: 4} # of 10") {
		t.Errorf("the size is %d, and the patch\n%s", w.size("b"), got)
	}
	first := w.main()
	if got, want := w.blame("widgets", "b")["spec.size"], fmt.Sprintf("%.7s ada kustomization.yaml:7 json-patch", first); got != want {
		t.Errorf("blame of spec.size: %q, want %q", got, want)
	}
	if got := w.blame("widgets", "b")["spec.color"]; got != "default" {
		t.Errorf("blame of spec.color: %q", got)
	}
	if err := paint("color", "blue"); err != nil {
		t.Fatal(err)
	}
	if got := git(t, w.bare, "show", "main:b.yaml"); got != "# The widget.\n"+widget("b", 1)+"  color: blue" {
		t.Errorf("the manifest is\n%s", got)
	}
	if got := w.size("b"); got != 4 {
		t.Errorf("the size is %d", got)
	}
}

// Without a subresource the status of a custom resource is a field like others: it is
// written back, refused, planned and blamed by its parts.
func TestStatusThatIsAnOrdinaryField(t *testing.T) {
	w := newWorld(t, map[string]string{
		"crd.yaml": strings.Replace(widgets, "    subresources: {status: {}}\n", "", 1),
		"b.yaml":   widget("b", 1) + "status:\n  word: fine # said\n  other: same\n",
	}, writesCommit)
	w.eventually("the resource is stored", func() bool { return w.size("b") == 1 })
	w.accept()
	w.applied(w.main())
	say := func(word string) change.Request {
		req := change.Request{User: "ada", Old: w.store.Get(widgetKey("b"))}
		next := req.Old.DeepCopyObject().(*unstructured.Unstructured)
		_ = unstructured.SetNestedField(next.Object, word, "status", "word")
		req.Next = next
		return req
	}
	elsewhere, err := w.sync.Review(t.Context(), say("better"))
	if err != nil || elsewhere == nil {
		t.Fatalf("the write is to be committed, and is answered %v", err)
	}
	if _, err := elsewhere(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := git(t, w.bare, "show", "main:b.yaml"); !strings.Contains(got, "  word: better # said\n  other: same") {
		t.Errorf("the manifest is\n%s", got)
	}
	subject := git(t, w.bare, "log", "-1", "--format=%s", "main")
	if subject != "Set status.word of Widget/default/b" {
		t.Errorf("the commit is %q", subject)
	}
	if got, want := w.blame("widgets", "b")["status.word"], fmt.Sprintf("%.7s ada b.yaml:8 manifest", w.main()); got != want {
		t.Errorf("blame of status.word: %q, want %q", got, want)
	}
	git(t, w.work, "pull", "-q")
	w.branch("next", map[string]string{"b.yaml": widget("b", 1) + "status:\n  word: best\n  other: same\n"})
	p := w.plan(wire.PlanRequest{Rev: "next"})
	if len(p.Actions) != 1 || len(p.Actions[0].Fields) != 1 || p.Actions[0].Fields[0].Path != "status.word" {
		t.Errorf("the plan: %+v", p.Actions)
	}
	w.annotate("Kustomization", flux.GitWrites, "reject")
	if _, err := w.sync.Review(t.Context(), say("worse")); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "status.word is set by Git in b.yaml:8") {
		t.Errorf("the write is answered %v", err)
	}
	// By hand, while the syncer does not look.
	w.annotate("Kustomization", flux.GitWrites, "heal")
	w.stop()
	w.editB(func(u *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(u.Object, "worse", "status", "word")
	})
	w.start()
	w.eventually("the drift is healed", func() bool {
		u := w.store.Get(widgetKey("b")).(*unstructured.Unstructured)
		word, _, _ := unstructured.NestedString(u.Object, "status", "word")
		return word == "better"
	})
}

// Of a status that is a subresource Git's is not applied, and blame does not name Git for
// what somebody else has written there.
func TestBlameOfAStatusThatGitDoesNotSet(t *testing.T) {
	w := newWorld(t, map[string]string{"crd.yaml": widgets, "b.yaml": widget("b", 1) + "status:\n  word: fine\n"}, nil)
	w.eventually("the resource is stored", func() bool { return w.size("b") == 1 })
	w.accept()
	w.applied(w.main())
	w.editB(func(u *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(u.Object, "fine", "status", "word")
	})
	want := fmt.Sprintf("%.7s Ada b.yaml:6 manifest", w.main())
	w.eventually("it is noted whose the resource is", func() bool { return w.blame("widgets", "b")["spec.size"] == want })
	if got := w.blame("widgets", "b")["status.word"]; got != "server" {
		t.Errorf("blame of status.word: %q", got)
	}
}

// What removes the finalizers of custom resources, say an operator, is most likely
// removed by the commit that removes these and their definition: so it stays until they
// are gone, also across a restart, and so it does when the whole Kustomization goes.
func TestCustomResourcesWithFinalizersGoFirst(t *testing.T) {
	for name, drop := range map[string]map[string]string{
		"a commit":            {"one/crd.yaml": "", "one/b.yaml": "", "one/operator.yaml": "", "one/keep.yaml": configMap("keep", "one")},
		"their Kustomization": {"cluster/one.yaml": ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := mono(t, map[string]string{
				"cluster/keep.yaml": configMap("root", "zero"), "cluster/one.yaml": nested("one", "./one", ""),
				"one/crd.yaml": widgets, "one/b.yaml": widget("b", 1), "one/operator.yaml": configMap("operator", "zero"),
			})
			w.eventually("the resource is stored", func() bool { return w.size("b") == 1 })
			w.accept()
			w.editB(func(u *unstructured.Unstructured) { u.SetFinalizers([]string{"example.com/record"}) })
			w.eventually("one is ready", func() bool { return strings.HasPrefix(w.readyOf("one"), "True") })
			w.branch("drop", drop)
			p := w.plan(wire.PlanRequest{Rev: "drop"})
			if got := strings.Join(actionsOf(p), "; "); !strings.Contains(got, "Delete Widget/b") || strings.Contains(got, "Delete ConfigMap/operator") || strings.Contains(got, "Delete CustomResourceDefinition") {
				t.Errorf("the plan: %s", got)
			}
			check(t, p, wire.CheckWarning, "spec.prune", "is not deleted yet: it stays until Widget default/b is gone, which waits for its finalizers: example.com/record")
			git(t, w.work, "merge", "-q", "--ff-only", "drop")
			w.push("drop")
			leaves := func() bool {
				obj := w.store.Get(widgetKey("b"))
				return obj != nil && obj.GetDeletionTimestamp() != nil
			}
			w.eventually("the resource is being deleted", leaves)
			w.restart()
			w.write(map[string]string{"cluster/keep.yaml": configMap("root", "one")})
			another := "main@sha1:" + w.push("another commit")
			w.eventually("the commit is applied", func() bool {
				one, _ := w.store.Get(key("Kustomization", "headway-system", "one")).(*kustomizev1.Kustomization)
				return w.configMap("root")["key"] == "one" && (one == nil || one.DeletionTimestamp != nil || one.Status.LastAppliedRevision == another)
			})
			if crd := w.store.Get(widgetsKey); !leaves() || crd == nil || crd.GetDeletionTimestamp() != nil || w.configMap("operator") == nil {
				t.Errorf("before it is gone, the definition is %v, the operator %v", crd, w.configMap("operator"))
			}
			w.commit(change.Change{Key: widgetKey("b"), Mutate: func(object.Object) (object.Object, error) { return nil, nil }})
			w.eventually("all of it goes", func() bool {
				crd := w.store.Get(widgetsKey)
				return (crd == nil || crd.GetDeletionTimestamp() != nil) && w.configMap("operator") == nil
			})
			entries, err := w.sync.Log("", "", "", -1, 50)
			if err != nil {
				t.Fatal(err)
			}
			late := 0
			for _, e := range entries {
				if e.Type == wire.EntryDrift {
					t.Errorf("the journal calls it drift: %+v", e.Objects)
				}
				if e.Type == wire.EntryApplied && e.Reason == "no longer declared" {
					late += len(e.Objects)
				}
			}
			if _, commits := drop["one/crd.yaml"]; commits && late != 2 {
				t.Errorf("the journal has %d objects that were deleted late, want 2", late)
			}
		})
	}
}
