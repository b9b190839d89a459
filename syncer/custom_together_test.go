package syncer_test

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// A definition of one Kustomization and a resource of another, pushed together, are one
// transaction, whichever of the two comes first; if the second depends on the first, it
// follows it at once. Neither waits for the names to be accepted, and neither is refused
// on the way, as the plan says.
func TestDefinitionAndResourceOfTwoKustomizations(t *testing.T) {
	look := func(r object.Reader) string {
		words := []string{"-", "-"}
		if r.Get(widgetsKey) != nil {
			words[0] = "definition"
		}
		if r.Get(widgetKey("b")) != nil {
			words[1] = "resource"
		}
		return strings.Join(words, " ")
	}
	const neither, both = "- -", "definition resource"
	for name, tt := range map[string]struct {
		defines, uses, extra string
		states               []string
	}{
		"the definition's is first": {"one", "two", "", []string{neither, both}},
		"the resource's is first":   {"two", "one", "", []string{neither, both}},
		"with dependsOn":            {"two", "one", "  dependsOn: [{name: two}]\n", []string{neither, "definition -", both}},
	} {
		t.Run(name, func(t *testing.T) {
			w, o := monoObserved(t, map[string]string{
				"cluster/a.yaml": nested(tt.defines, "./"+tt.defines, ""), "cluster/b.yaml": nested(tt.uses, "./"+tt.uses, tt.extra),
				"one/keep.yaml": configMap("one", "zero"), "two/keep.yaml": configMap("two", "zero"),
			}, nil)
			w.allApplied(w.main(), "cluster", "one", "two")
			seen := o.observe(look)
			w.branch("both", map[string]string{tt.defines + "/crd.yaml": widgets, tt.uses + "/b.yaml": widget("b", 1)})
			if p := w.plan(wire.PlanRequest{Rev: "both"}); len(p.Errors) > 0 || len(actionsOf(p)) != 2 {
				t.Errorf("the plan: %q, %+v", actionsOf(p), p.Errors)
			}
			git(t, w.work, "merge", "-q", "--ff-only", "both")
			head := w.push("both")
			w.allApplied(head, "cluster", "one", "two")
			wantStates(t, seen(), tt.states...)
			entries, err := w.sync.Log("", "", "", -1, 20)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Type == wire.EntryRejected {
					t.Errorf("the journal has %s of %s: %s", e.Type, e.Kustomization, e.Reason)
				}
			}

			w.accept()
			w.editB(func(u *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(u.Object, int64(7), "spec", "size")
			})
			w.eventually("the drift is healed", func() bool { return w.size("b") == 1 })
		})
	}
}

// The resource of a definition whose names another has is refused, and says so.
func TestResourceOfADefinitionWithoutNames(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/a.yaml": nested("one", "./one", ""), "cluster/b.yaml": nested("two", "./two", ""),
		"one/crd.yaml": widgets, "two/keep.yaml": configMap("keep", "zero"),
	})
	w.allApplied(w.main(), "one", "two")
	w.commit(change.PatchStatus(widgetsKey, func(o object.Object) bool {
		o.(*apiextensionsv1.CustomResourceDefinition).Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{
			{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionFalse, Reason: "KindConflict", Message: `"Widget" is already in use`},
		}
		return true
	}))
	w.write(map[string]string{"two/b.yaml": widget("b", 1)})
	w.push("a resource")
	const want = `False ReconciliationFailed two/b.yaml:2: Widget b: kind: no matches for kind "Widget" in version "example.com/v1": ` +
		`the names of the CustomResourceDefinition widgets.example.com are not accepted: "Widget" is already in use`
	w.eventually(want, func() bool { return w.readyOf("two") == want })
}
