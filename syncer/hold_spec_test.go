package syncer_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
)

// What goes back to the last good commit, as the newest has failed, is rendered with the
// spec of then, also after a restart: that of the newest commit is for its files.
func TestHoldWithTheSpecOfThen(t *testing.T) {
	spec := func(path, value string) string {
		return strings.Replace(nested("one", path, "  wait: true\n  postBuild: {substitute: {v: "+value+"}}\n"), "namespace: headway-system}", "namespace: headway-system, annotations: {headway.dev/on-failure: hold}}", 1)
	}
	w := mono(t, map[string]string{
		"cluster/one.yaml": spec("./one", "old"), "one/d.yaml": deployment("web:1"), "one/keep.yaml": configMap("keep", "${v}"),
		"next/keep.yaml": configMap("keep", "next ${v}"),
	})
	w.eventually("it is stored", func() bool { return w.deployment() != nil })
	w.rollout()
	first := w.main()
	w.allApplied(first, "one")
	life := w.life("keep")

	w.write(map[string]string{"cluster/one.yaml": spec("./next", "new"), "next/d.yaml": deployment("web:broken")})
	w.push("another path, and broken")
	w.eventually("it is applied", func() bool { return w.image() == "web:broken" && w.configMap("keep")["key"] == "next new" })
	w.fail()
	held := func() bool { return w.image() == "web:1" && w.configMap("keep")["key"] == "old" }
	w.eventually("the last good commit is back as it was", held)
	if w.life("keep") != life {
		t.Error("what it applied was deleted")
	}
	w.restart()
	w.commit(change.Delete(key("ConfigMap", "default", "keep"), metav1.DeleteOptions{}, time.Now()))
	w.eventually("it is put back as it was", held)
}
