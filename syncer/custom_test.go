package syncer_test

import (
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
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
