package syncer_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// While the newest commit cannot be applied, writes are judged by what is: by the spec
// with which it was rendered, also after a restart.
func TestWritesAreJudgedByTheSpecThatIsApplied(t *testing.T) {
	spec := func(path, value string) string {
		return strings.Replace(nested("one", path, "  postBuild: {substitute: {v: "+value+"}}\n"), "namespace: headway-system}", "namespace: headway-system, annotations: {headway.dev/git-writes: reject}}", 1)
	}
	w := mono(t, map[string]string{
		"cluster/one.yaml": spec("./one", "old"), "one/keep.yaml": configMap("keep", "${v}"), "next/keep.yaml": configMap("keep", "${v}"),
	})
	w.allApplied(w.main(), "one")
	w.write(map[string]string{"cluster/one.yaml": spec("./next", "new"), "next/broken.yaml": "a: [\n"})
	w.push("edit the spec of one and break it")
	refused := func(when string) {
		t.Helper()
		w.eventually("one is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False BuildFailed") })
		answer := func(value string) error {
			req := change.Request{User: "ada", Old: w.store.Get(key("ConfigMap", "default", "keep"))}
			req.Next = req.Old.DeepCopyObject().(object.Object)
			req.Next.(*corev1.ConfigMap).Data["key"] = value
			_, err := w.sync.Review(t.Context(), req)
			return err
		}
		w.eventually("another value is refused "+when, func() bool {
			err := answer("new")
			return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "data.key is set by Git in one/keep.yaml:")
		})
		if err := answer("old"); err != nil {
			t.Errorf("%s, the value that is applied is answered %v", when, err)
		}
	}
	refused("after the commit")
	w.restart()
	refused("after a restart")
}
