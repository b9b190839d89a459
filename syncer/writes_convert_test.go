package syncer_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/flux"
)

// slowHalves are halves of which one answer can be kept back.
type slowHalves struct {
	halves
	mu   sync.Mutex
	next chan struct{} // of the next one that is asked
	held chan struct{}
}

// hold keeps the next answer back until release is called; asked is closed once
// somebody waits for it.
func (s *slowHalves) hold() (asked <-chan struct{}, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.held = make(chan struct{}), make(chan struct{})
	return s.next, sync.OnceFunc(func() { close(s.held) })
}

// Convert implements custom.Converter.
func (s *slowHalves) Convert(crd *apiextensionsv1.CustomResourceDefinition, u *unstructured.Unstructured, version schema.GroupVersion) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	asked, held := s.next, s.held
	s.next = nil
	s.mu.Unlock()
	if asked != nil {
		close(asked)
		<-held
	}
	return s.halves.Convert(crd, u, version)
}

const halved = `  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {service: {namespace: default, name: hook}}}}
  versions:
  - name: v2
    served: true
    storage: false
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {half: {type: integer}, color: {type: string}}}}}}
`

// While a webhook is asked about one write, others are judged, refused, and committed to
// the same branch; then the first is judged by what is applied by then.
func TestWritesDoNotWaitForAnothersConversion(t *testing.T) {
	hook := &slowHalves{}
	w := newWorldWith(t, map[string]string{
		"a.yaml": configMap("a", "one"), "crd.yaml": strings.Replace(widgets, "  versions:\n", halved, 1),
		"b.yaml": "apiVersion: example.com/v2\nkind: Widget\nmetadata:\n  name: b\nspec:\n  half: 2\n",
	}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { writesCommit(src, ks) }, func(cfg *syncer.Config) { cfg.Convert = hook })
	w.eventually("the resource is stored", func() bool { return w.size("b") == 4 })
	w.accept()
	w.applied(w.main())
	paint := func(color string) change.Request {
		req := change.Request{User: "ada", Old: w.store.Get(widgetKey("b"))}
		next := req.Old.DeepCopyObject().(*unstructured.Unstructured)
		_ = unstructured.SetNestedField(next.Object, color, "spec", "color")
		req.Next = next
		return req
	}
	type answer struct {
		elsewhere change.Elsewhere
		err       error
	}
	review := func(req change.Request) <-chan answer {
		done := make(chan answer, 1)
		go func() {
			elsewhere, err := w.sync.Review(t.Context(), req)
			done <- answer{elsewhere, err}
		}()
		return done
	}

	// It is judged.
	asked, release := hook.hold()
	t.Cleanup(release)
	first := review(paint("blue"))
	<-asked
	if err := w.set("a", "two"); err != nil || w.configMap("a")["key"] != "two" {
		t.Fatalf("meanwhile: %v, %v", w.configMap("a"), err)
	}
	release()
	judged := <-first
	if judged.err != nil || judged.elsewhere == nil {
		t.Fatalf("the write is answered with %+v", judged)
	}
	// It is written.
	asked, release = hook.hold()
	t.Cleanup(release)
	written := make(chan error, 1)
	go func() {
		_, err := judged.elsewhere(context.Background())
		written <- err
	}()
	<-asked
	if err := w.set("a", "three"); err != nil || w.configMap("a")["key"] != "three" {
		t.Fatalf("meanwhile: %v, %v", w.configMap("a"), err)
	}
	release()
	if err := <-written; err != nil || !strings.Contains(git(t, w.bare, "show", "main:b.yaml"), "color: blue") {
		t.Errorf("the write: %v", err)
	}

	// It is refused.
	w.annotate("Kustomization", flux.GitWrites, "reject")
	asked, release = hook.hold()
	t.Cleanup(release)
	first = review(paint("red"))
	<-asked
	other := change.Request{User: "ada", Old: w.store.Get(key("ConfigMap", "default", "a"))}
	other.Next = other.Old.DeepCopyObject().(object.Object)
	other.Next.(*corev1.ConfigMap).Data["key"] = "four"
	if _, err := w.sync.Review(t.Context(), other); !apierrors.IsForbidden(err) {
		t.Errorf("meanwhile: %v", err)
	}
	release()
	if judged := <-first; !apierrors.IsForbidden(judged.err) || !strings.Contains(judged.err.Error(), "spec.color is set by Git in b.yaml:7") {
		t.Errorf("the write is answered with %+v", judged)
	}
}
