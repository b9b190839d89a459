package syncer_test

import (
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// mono is a world whose Kustomization cluster declares others in cluster/.
func mono(t *testing.T, files map[string]string) *world {
	t.Helper()
	return newWorld(t, files, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "cluster" })
}

// life is the identity of an object: another one if it was ever deleted.
func (w *world) life(name string) string {
	obj := w.store.Get(key("ConfigMap", "default", name))
	if obj == nil {
		return "gone"
	}
	return string(obj.GetUID())
}

func (w *world) ownerOf(name string) string {
	obj := w.store.Get(key("ConfigMap", "default", name))
	if obj == nil {
		return "gone"
	}
	owner, _ := plan.OwnerOf(obj)
	return owner.Name
}

func (w *world) has(kustomization, id string) bool {
	ks, ok := w.store.Get(key("Kustomization", "headway-system", kustomization)).(*kustomizev1.Kustomization)
	if !ok || ks.Status.Inventory == nil {
		return false
	}
	for _, e := range ks.Status.Inventory.Entries {
		if e.ID == id {
			return true
		}
	}
	return false
}

// What a commit moves from one Kustomization to another is never deleted,
// whichever of the two is faster.
func TestMoveBetweenKustomizations(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"cluster/two.yaml": nested("two", "./two", ""),
		"one/a.yaml":       configMap("a", "zero"),
		"one/keep.yaml":    configMap("keep1", "zero"),
		"two/keep.yaml":    configMap("keep2", "zero"),
	})
	w.eventually("a is applied", func() bool { return w.configMap("a") != nil && w.configMap("keep2") != nil })
	before := w.life("a")
	places := []string{"one", "two"}
	for i := range 6 {
		from, to := places[i%2], places[(i+1)%2]
		value := fmt.Sprint(i + 1)
		w.write(map[string]string{from + "/a.yaml": "", to + "/a.yaml": configMap("a", "\""+value+"\"")})
		w.push("move a to " + to)
		w.eventually("a belongs to "+to, func() bool { return w.ownerOf("a") == to && w.configMap("a")["key"] == value })
		w.eventually("it left the other inventory", func() bool { return !w.has(from, "default_a__ConfigMap") && w.has(to, "default_a__ConfigMap") })
		if got := w.life("a"); got != before {
			t.Fatalf("move %d: a was deleted on its way from %s to %s", i, from, to)
		}
	}
	w.write(map[string]string{"one/a.yaml": ""})
	w.push("remove a")
	w.eventually("a is pruned where it is now", func() bool { return w.configMap("a") == nil })
}

// The successor may be declared by the same commit, and a Kustomization may be
// renamed: neither interrupts anything.
func TestMoveToNewKustomization(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"one/a.yaml":       configMap("a", "one"),
		"one/b.yaml":       configMap("b", "one"),
	})
	w.eventually("both are applied", func() bool { return w.configMap("a") != nil && w.configMap("b") != nil })
	a, b := w.life("a"), w.life("b")
	w.write(map[string]string{"cluster/new.yaml": nested("new", "./new", ""), "one/a.yaml": "", "new/a.yaml": configMap("a", "new")})
	w.push("split one")
	w.eventually("a belongs to the new one", func() bool { return w.ownerOf("a") == "new" && w.configMap("a")["key"] == "new" })

	w.write(map[string]string{"cluster/one.yaml": "", "cluster/uno.yaml": nested("uno", "./one", "")})
	w.push("rename one")
	w.eventually("b belongs to the renamed one", func() bool { return w.ownerOf("b") == "uno" })
	w.eventually("one is gone", func() bool { return w.store.Get(key("Kustomization", "headway-system", "one")) == nil })
	if got := w.life("a"); got != a {
		t.Error("a was deleted while it moved")
	}
	if got := w.life("b"); got != b {
		t.Error("b was deleted when its Kustomization was renamed")
	}
}

// A move to a Kustomization that is broken leaves the object where it is, and
// what has nothing to do with that is pruned all the same.
func TestMoveToBrokenKustomization(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"cluster/two.yaml": nested("two", "./two", ""),
		"one/a.yaml":       configMap("moved", "one"),
		"one/b.yaml":       configMap("dropped", "one"),
		"one/keep.yaml":    configMap("keep", "one"),
		"two/c.yaml":       configMap("c", "two"),
	})
	w.eventually("all are applied", func() bool {
		return w.configMap("moved") != nil && w.configMap("dropped") != nil && w.configMap("c") != nil
	})
	before := w.life("moved")
	w.write(map[string]string{"one/a.yaml": "", "one/b.yaml": "", "two/a.yaml": configMap("moved", "two") + "bad: 1\n"})
	w.push("move with a typing error")
	w.eventually("what was dropped is pruned", func() bool { return w.configMap("dropped") == nil })
	w.eventually("two is refused", func() bool { return strings.HasPrefix(w.readyOf("two"), "False BuildFailed") })
	if w.configMap("moved")["key"] != "one" {
		t.Error("the object was deleted because its successor has a typing error")
	}
	w.write(map[string]string{"two/a.yaml": configMap("moved", "two")})
	w.push("mend it")
	w.eventually("two has it", func() bool { return w.ownerOf("moved") == "two" })
	if got := w.life("moved"); got != before {
		t.Error("the object was deleted on its way")
	}
	w.write(map[string]string{"two/a.yaml": ""})
	w.push("drop it")
	w.eventually("it is pruned at last", func() bool { return w.configMap("moved") == nil })
}

// What several declare stays with the one that has it, whoever else comes, and
// the plan says the same.
func TestSeveralDeclareOneObject(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""), "cluster/three.yaml": nested("three", "./three", ""), "cluster/two.yaml": nested("two", "./two", ""),
		"one/keep.yaml": configMap("keep1", "x"), "three/keep.yaml": configMap("keep3", "x"), "two/a.yaml": configMap("a", "two"),
	})
	w.eventually("two has it", func() bool {
		return w.ownerOf("a") == "two" && w.configMap("keep3") != nil && w.configMap("keep1") != nil
	})
	w.branch("next", map[string]string{"one/a.yaml": configMap("a", "one"), "three/a.yaml": configMap("a", "three")})
	p := w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "next"})
	const words = "ConfigMap default/a: is managed by the Kustomization headway-system/two: remove it from there first"
	if len(p.Errors) != 2 || !strings.HasSuffix(p.Errors[0].Message, words) || !strings.HasSuffix(p.Errors[1].Message, words) || len(p.Actions) > 0 {
		t.Errorf("the plan changes %q with the errors %q", actionsOf(p), messages(p.Errors))
	}
	git(t, w.work, "merge", "-q", "--ff-only", "next")
	w.push("declare it twice more")
	for _, name := range []string{"one", "three"} {
		w.eventually(name+" is refused", func() bool { return strings.HasSuffix(w.readyOf(name), words) })
	}
	if w.ownerOf("a") != "two" || w.configMap("a")["key"] != "two" {
		t.Errorf("a is %v of %s, want it to stay with two", w.configMap("a"), w.ownerOf("a"))
	}

	// Once the one that has it drops it, the first by name takes it over.
	life := w.life("a")
	w.branch("drop", map[string]string{"two/a.yaml": configMap("b", "two")})
	p = w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "drop"})
	const taken = "ConfigMap default/a: is taken over by the Kustomization headway-system/one: remove it from there first"
	if len(p.Errors) != 1 || !strings.HasSuffix(p.Errors[0].Message, taken) {
		t.Errorf("the plan changes %q with the errors %q", actionsOf(p), messages(p.Errors))
	}
	git(t, w.work, "merge", "-q", "--ff-only", "drop")
	w.push("drop it")
	w.eventually("one has it", func() bool { return w.ownerOf("a") == "one" && w.configMap("a")["key"] == "one" })
	w.allSettled()
	if got := w.readyOf("three"); !strings.Contains(got, "ConfigMap default/a: is ") || w.life("a") != life {
		t.Errorf("three is %q, and a is another: %v", got, w.life("a") != life)
	}
}
