package syncer_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/gitserver"
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

// What spec.ignore leaves alone is written to the cluster, whatever is done with other
// writes.
func TestWritesOfWhatIsIgnored(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one") + "  more: one\n"}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Annotations = map[string]string{flux.GitWrites: "reject"}
		ks.Spec.Ignore = []kustomizev1.IgnoreRule{{Paths: []string{"/data/key", "/data/new"}}}
	})
	w.applied(w.main())
	review := func(values map[string]string) (change.Elsewhere, error) {
		req := change.Request{User: "ada", Old: w.store.Get(key("ConfigMap", "default", "a"))}
		next := req.Old.DeepCopyObject().(*corev1.ConfigMap)
		maps.Copy(next.Data, values)
		req.Next = next
		return w.sync.Review(t.Context(), req)
	}
	here := func(mode string, values map[string]string) {
		t.Helper()
		if elsewhere, err := review(values); err != nil || elsewhere != nil {
			t.Errorf("%s: a write of %v is answered %v, elsewhere: %t; it is for the cluster", mode, values, err, elsewhere != nil)
		}
	}
	here("reject", map[string]string{"key": "two", "new": "three"})
	if _, err := review(map[string]string{"more": "two"}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "data.more is set by Git in a.yaml:8") {
		t.Errorf("a write of what is not ignored is answered %v", err)
	}
	w.annotate("Kustomization", flux.GitWrites, "commit")
	here("commit", map[string]string{"key": "two"})
	here("commit", map[string]string{"new": "three"})
	const want = "data.key is left alone by spec.ignore, and data.more is not: change them one after the other"
	if _, err := review(map[string]string{"key": "two", "more": "two"}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("a write of both is answered %v", err)
	}
	if elsewhere, err := review(map[string]string{"more": "two"}); err != nil || elsewhere == nil {
		t.Errorf("a write of what is not ignored is answered %v, elsewhere: %t", err, elsewhere != nil)
	}
}

// A refusal tells the commit that a line is from as of what is applied, also if that was
// rendered before, when another commit was.
func TestRefusalsNameTheCommitThatIsApplied(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		writesCommit(src, ks)
		remote(t, &srv, nil)(src, ks)
		src.Spec.Interval = metav1.Duration{Duration: time.Hour}
	})
	first := w.main()
	w.applied(first)
	w.write(map[string]string{"a.yaml": "# A comment.\n# And another.\n" + configMap("a", "one")})
	second := w.push("comments")
	// It is only checked, upon a branch that has a commit which is not applied yet.
	if err := w.hand(change.Request{User: "ada", DryRun: true}, key("ConfigMap", "default", "a"), func(o object.Object) {
		o.(*corev1.ConfigMap).Data["key"] = "two"
	}); err != nil {
		t.Fatal(err)
	}
	w.annotate("GitRepository", meta.ReconcileRequestAnnotation, "now")
	w.applied(second)
	w.annotate("Kustomization", flux.GitWrites, "reject")
	req := change.Request{User: "ada", Old: w.store.Get(key("ConfigMap", "default", "a"))}
	next := req.Old.DeepCopyObject().(*corev1.ConfigMap)
	next.Data["key"] = "two"
	req.Next = next
	want := fmt.Sprintf("data.key is set by Git in a.yaml:9 (commit %.12s, \"first commit\")", first)
	if _, err := w.sync.Review(t.Context(), req); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("the write is answered %v, want %s", err, want)
	}
}

// A write whose definition gets a webhook while it is under way is written to the end by
// the one that has locked the branch.
func TestDefinitionThatChangesWhileAWriteIsUnderWay(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"b.yaml": widget("b", 1)}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		writesCommit(src, ks)
		remote(t, &srv, nil)(src, ks)
		src.Spec.Interval = metav1.Duration{Duration: time.Hour}
	})
	items, err := load.Bytes("crd.yaml", []byte(widgets))
	if err != nil {
		t.Fatal(err)
	}
	w.create(items[0].Object)
	w.accept()
	w.applied(w.main())
	var once sync.Once
	srv.Fail(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Query().Get("service") == "git-upload-pack" {
			once.Do(func() {
				_, err := w.store.Commit(context.Background(), change.Tx{Changes: []change.Change{change.Patch(widgetsKey, func(o object.Object) bool {
					o.(*apiextensionsv1.CustomResourceDefinition).Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter}
					return true
				})}})
				if err != nil {
					t.Error(err)
				}
			})
		}
		next.ServeHTTP(rw, r)
	})
	err = w.hand(change.Request{User: "ada"}, widgetKey("b"), func(o object.Object) {
		_ = unstructured.SetNestedField(o.(*unstructured.Unstructured).Object, int64(2), "spec", "size")
	})
	if err != nil || w.size("b") != 2 || !strings.Contains(git(t, w.bare, "show", "main:b.yaml"), "size: 2") {
		t.Errorf("the write is answered %v, and the size %d", err, w.size("b"))
	}
}
