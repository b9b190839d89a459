package syncer_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
)

// What a commit moved away from a Kustomization stays where it is, although the
// one that it left is broken, and therefore puts back what it applied last.
func TestMoveFromBrokenKustomization(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"cluster/two.yaml": nested("two", "./two", ""),
		"one/a.yaml":       configMap("a", "zero"),
		"one/b.yaml":       configMap("b", "zero"),
		"one/keep.yaml":    configMap("keep", "zero"),
		"two/keep.yaml":    configMap("keep2", "zero"),
	})
	w.eventually("all is applied", func() bool { return w.configMap("a") != nil && w.configMap("keep2") != nil })
	w.write(map[string]string{"one/a.yaml": "", "two/a.yaml": configMap("a", "moved"), "one/b.yaml": "", "one/broken.yaml": "a: [\n"})
	w.push("move a, remove b and break one")
	moved := func() bool { return w.ownerOf("a") == "two" && w.configMap("a")["key"] == "moved" }
	w.eventually("a is moved", moved)
	w.eventually("one is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False BuildFailed") })
	version := func() string { return w.store.Get(key("ConfigMap", "default", "a")).GetResourceVersion() }
	settled := version()
	heals := func(when string) {
		t.Helper()
		w.commit(change.Delete(key("ConfigMap", "default", "keep"), metav1.DeleteOptions{}, time.Now()))
		w.eventually("one puts back what it has: "+when, func() bool { return w.configMap("keep")["key"] == "zero" })
		// Not even for a moment is it taken back.
		if !moved() || version() != settled {
			t.Errorf("%s, a is with %s, says %v, and was written", when, w.ownerOf("a"), w.configMap("a"))
		}
		if w.configMap("b") == nil {
			t.Errorf("%s, b is gone, although nobody applied the commit that removes it", when)
		}
	}
	heals("after the move")
	w.restart()
	heals("after a restart")
	w.write(map[string]string{"one/broken.yaml": ""})
	w.push("mend one")
	w.eventually("one lets a go", func() bool { return !w.has("one", "default_a__ConfigMap") && w.configMap("b") == nil })
	if !moved() {
		t.Errorf("after one is mended, a is with %s, and says %v", w.ownerOf("a"), w.configMap("a"))
	}
}

// What a broken Kustomization puts back is what it applied last: as its spec was
// then, also after a restart, and without what another one took over and has deleted
// since.
func TestBrokenKustomizationPutsBackWhatItApplied(t *testing.T) {
	spec := func(path, value string) string {
		return nested("one", path, "  postBuild: {substitute: {v: "+value+"}}\n")
	}
	w := mono(t, map[string]string{
		"cluster/one.yaml": spec("./one", "old"),
		"cluster/two.yaml": nested("two", "./two", ""),
		"one/a.yaml":       configMap("a", "zero"),
		"one/keep.yaml":    configMap("keep", "${v}"),
		"two/keep.yaml":    configMap("keep2", "zero"),
		"next/else.yaml":   configMap("else", "zero"),
	})
	w.eventually("all is applied", func() bool { return w.configMap("a") != nil && w.configMap("keep2") != nil })
	life := w.life("keep")
	w.write(map[string]string{"cluster/one.yaml": spec("./next", "new"), "one/a.yaml": "", "two/a.yaml": configMap("a", "moved"), "next/broken.yaml": "a: [\n"})
	w.push("move a, edit the spec of one and break it")
	w.eventually("a is moved", func() bool { return w.ownerOf("a") == "two" && w.configMap("a")["key"] == "moved" })
	w.eventually("one is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False BuildFailed") })
	w.write(map[string]string{"two/a.yaml": ""})
	w.push("remove a")
	w.eventually("a is deleted", func() bool { return w.configMap("a") == nil })
	heals := func(when string) {
		t.Helper()
		if w.life("keep") != life {
			t.Errorf("%s, what it applied was deleted", when)
		}
		w.commit(change.Delete(key("ConfigMap", "default", "keep"), metav1.DeleteOptions{}, time.Now()))
		w.eventually("one puts back what it has: "+when, func() bool { return w.configMap("keep") != nil })
		if got := w.configMap("keep")["key"]; got != "old" {
			t.Errorf("%s, what is put back says %q, as the newest spec does, and not what was applied", when, got)
		}
		if w.configMap("a") != nil || w.configMap("else") != nil {
			t.Errorf("%s, there is a (%v), which another Kustomization has deleted, or else (%v), which nobody has applied", when, w.configMap("a"), w.configMap("else"))
		}
		life = w.life("keep")
	}
	heals("after the commits")
	w.restart()
	heals("after a restart")
	w.write(map[string]string{"next/broken.yaml": ""})
	w.push("mend one")
	w.eventually("one is applied by its newest spec", func() bool { return w.configMap("else") != nil && w.configMap("keep") == nil })
}
