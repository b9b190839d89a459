package syncer_test

import (
	"context"
	"fmt"
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
	"headway.dev/syncer/wire"
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
	next, held := make(chan struct{}), make(chan struct{})
	s.next, s.held = next, held
	return next, sync.OnceFunc(func() { close(held) })
}

// Convert implements custom.Converter.
func (s *slowHalves) Convert(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, u *unstructured.Unstructured, version schema.GroupVersion) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	asked, held := s.next, s.held
	s.next = nil
	s.mu.Unlock()
	if asked != nil {
		close(asked)
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.halves.Convert(ctx, crd, u, version)
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
	await(t, "the webhook is asked", asked)
	if err := w.set("a", "two"); err != nil || w.configMap("a")["key"] != "two" {
		t.Fatalf("meanwhile: %v, %v", w.configMap("a"), err)
	}
	release()
	judged := await(t, "the write is judged", first)
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
	await(t, "the webhook is asked", asked)
	if err := w.set("a", "three"); err != nil || w.configMap("a")["key"] != "three" {
		t.Fatalf("meanwhile: %v, %v", w.configMap("a"), err)
	}
	release()
	if err := await(t, "the write is written", written); err != nil || !strings.Contains(git(t, w.bare, "show", "main:b.yaml"), "color: blue") {
		t.Errorf("the write: %v", err)
	}

	// It is refused.
	w.annotate("Kustomization", flux.GitWrites, "reject")
	asked, release = hook.hold()
	t.Cleanup(release)
	first = review(paint("red"))
	await(t, "the webhook is asked", asked)
	other := change.Request{User: "ada", Old: w.store.Get(key("ConfigMap", "default", "a"))}
	other.Next = other.Old.DeepCopyObject().(object.Object)
	other.Next.(*corev1.ConfigMap).Data["key"] = "four"
	if _, err := w.sync.Review(t.Context(), other); !apierrors.IsForbidden(err) {
		t.Errorf("meanwhile: %v", err)
	}
	release()
	if judged := await(t, "the write is judged", first); !apierrors.IsForbidden(judged.err) || !strings.Contains(judged.err.Error(), "spec.color of example.com/v2 is set by Git in b.yaml:7") {
		t.Errorf("the write is answered with %+v", judged)
	}
}

// What a user writes in the version in which a resource is stored is written to Git in the
// one that the manifest has, with its names; refused and blamed by these; and refused if
// that version has nothing like it.
func TestWritesInTheVersionOfTheManifest(t *testing.T) {
	definition := strings.Replace(widgets, "  versions:\n", halved, 1)
	definition = strings.Replace(definition, "              color: {type: string, default: red}\n", "              color: {type: string, default: red}\n              note: {type: string}\n", 1)
	w := newWorldWith(t, map[string]string{
		"crd.yaml": definition,
		"b.yaml":   "apiVersion: example.com/v2\nkind: Widget\nmetadata:\n  name: b\nspec:\n  half: 2 # of ten\n",
	}, writesCommit, func(cfg *syncer.Config) { cfg.Convert = &halves{} })
	w.eventually("the resource is stored", func() bool { return w.size("b") == 4 })
	w.accept()
	w.applied(w.main())
	set := func(values map[string]any) error {
		return w.hand(change.Request{User: "ada"}, widgetKey("b"), func(o object.Object) {
			for field, value := range values {
				_ = unstructured.SetNestedField(o.(*unstructured.Unstructured).Object, value, "spec", field)
			}
		})
	}
	if err := set(map[string]any{"size": int64(6)}); err != nil {
		t.Fatal(err)
	}
	if got := git(t, w.bare, "show", "main:b.yaml"); w.size("b") != 6 || !strings.Contains(got, "  half: 3 # of ten") || strings.Contains(got, "size") {
		t.Errorf("stored is size %d, and the manifest\n%s", w.size("b"), got)
	}
	head := w.main()
	if got := git(t, w.bare, "log", "-1", "--format=%s", "main"); got != "Set spec.half of Widget/default/b" {
		t.Errorf("the commit is %q", got)
	}
	if got, want := w.blame("widgets", "b")["spec.half"], fmt.Sprintf("%.7s ada b.yaml:6 manifest", head); got != want {
		t.Errorf("blame of spec.half: %q, want %q", got, want)
	}
	for _, tt := range []struct {
		values map[string]any
		want   string
	}{
		{map[string]any{"note": "new"}, "spec.note of example.com/v1 is nothing in example.com/v2, in which b.yaml declares the object: edit the file"},
		{map[string]any{"note": "new", "size": int64(8)}, "spec.note of example.com/v1 cannot be changed so in b.yaml, where it is in example.com/v2: edit the files"},
	} {
		if err := set(tt.values); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("a write of %v is answered %v, want %s", tt.values, err, tt.want)
		}
	}
	w.annotate("Kustomization", flux.GitWrites, "reject")
	req := change.Request{User: "ada", Old: w.store.Get(widgetKey("b"))}
	next := req.Old.DeepCopyObject().(*unstructured.Unstructured)
	_ = unstructured.SetNestedField(next.Object, int64(8), "spec", "size")
	req.Next = next
	if _, err := w.sync.Review(t.Context(), req); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "spec.half of example.com/v2 is set by Git in b.yaml:6") {
		t.Errorf("the write is answered %v", err)
	}
	if got := w.main(); got != head {
		t.Errorf("main is at %s, want it to stay at %s", got, head)
	}
}

// A plan that nobody waits for any more does not wait for a webhook that converts, and
// blames no file for that; nor does a write.
func TestConversionsEndWithWhoWaits(t *testing.T) {
	hook := &slowHalves{}
	w := newWorldWith(t, map[string]string{
		"crd.yaml": strings.Replace(widgets, "  versions:\n", halved, 1),
		"b.yaml":   "apiVersion: example.com/v2\nkind: Widget\nmetadata:\n  name: b\nspec:\n  half: 2\n",
	}, writesCommit, func(cfg *syncer.Config) { cfg.Convert = hook })
	w.eventually("the resource is stored", func() bool { return w.size("b") == 4 })
	w.accept()
	w.applied(w.main())
	w.branch("next", map[string]string{"b.yaml": "apiVersion: example.com/v2\nkind: Widget\nmetadata:\n  name: b\nspec:\n  half: 3\n"})
	for name, ask := range map[string]func(context.Context) (wire.Plans, error){
		"a plan": func(ctx context.Context) (wire.Plans, error) { return w.sync.Plan(ctx, wire.PlanRequest{Rev: "next"}) },
		"a write": func(ctx context.Context) (wire.Plans, error) {
			req := change.Request{User: "ada", Old: w.store.Get(widgetKey("b"))}
			next := req.Old.DeepCopyObject().(*unstructured.Unstructured)
			_ = unstructured.SetNestedField(next.Object, int64(8), "spec", "size")
			req.Next = next
			_, err := w.sync.Review(ctx, req)
			return wire.Plans{}, err
		},
	} {
		asked, release := hook.hold()
		t.Cleanup(release)
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		type answer struct {
			plans wire.Plans
			err   error
		}
		done := make(chan answer, 1)
		go func() {
			plans, err := ask(ctx)
			done <- answer{plans, err}
		}()
		await(t, name+": the webhook is asked", asked)
		cancel()
		got := await(t, name+": it ends with who asked", done)
		if name == "a write" && got.err == nil {
			t.Error("a write that was not judged passes")
		}
		if name == "a plan" && got.err != nil {
			t.Error(got.err)
		}
		for _, e := range got.plans.Errors {
			if e.File != "" {
				t.Errorf("%s that nobody waits for blames %s: %s", name, e.File, e.Message)
			}
		}
	}
}
