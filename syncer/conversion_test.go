package syncer_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/custom"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

// halves converts Widgets: what is spec.size in v1, is spec.half in v2.
type halves struct {
	mu  sync.Mutex
	err error
}

func (h *halves) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

// Convert implements custom.Converter.
func (h *halves) Convert(_ context.Context, _ *apiextensionsv1.CustomResourceDefinition, u *unstructured.Unstructured, version schema.GroupVersion) (*unstructured.Unstructured, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return nil, h.err
	}
	out := u.DeepCopy()
	out.SetAPIVersion(version.String())
	spec, _ := out.Object["spec"].(map[string]any)
	if size, ok := spec["size"].(int64); ok && version.Version == "v2" {
		delete(spec, "size")
		spec["half"] = size / 2
	} else if half, ok := spec["half"].(int64); ok && version.Version == "v1" {
		delete(spec, "half")
		spec["size"] = 2 * half
	}
	return out, nil
}

var _ custom.Converter = (*halves)(nil)

// A commit with a resource in another version than the stored one waits, whole, for a
// webhook that cannot be asked, also if the definition comes with it; the plan tells it
// with file and line. Then it is converted, and nothing changes any more.
func TestConversionsOfCommits(t *testing.T) {
	hook := &halves{err: errors.New(`conversion webhook for example.com/v2, Kind=Widget failed: services "hook" not found`)}
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.RetryInterval = &metav1.Duration{Duration: 50 * time.Millisecond}
	}, func(cfg *syncer.Config) { cfg.Convert = hook })
	w.applied(git(t, w.work, "rev-parse", "HEAD"))

	definition := strings.Replace(widgets, "  versions:\n", `  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {service: {namespace: default, name: hook}}}}
  versions:
  - name: v2
    served: true
    storage: false
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {half: {type: integer}, color: {type: string}}}}}}
`, 1)
	files := map[string]string{
		"a.yaml": configMap("a", "two"), "crd.yaml": definition,
		"b.yaml": "apiVersion: example.com/v2\nkind: Widget\nmetadata:\n  name: b\nspec:\n  half: 2\n",
	}
	w.branch("next", files)
	const told = `Widget default/b: it cannot be converted from example.com/v2 to example.com/v1, in which it is stored or declared: ` +
		`conversion webhook for example.com/v2, Kind=Widget failed: services "hook" not found; a webhook has to answer before what it converts is applied`
	if p := w.plan(wire.PlanRequest{Rev: "next"}); len(p.Errors) != 1 || p.Errors[0].File != "b.yaml" || !strings.Contains(p.Errors[0].Message, strings.TrimPrefix(told, "Widget default/b: ")) {
		t.Errorf("the plan tells %+v, want %q", p.Errors, told)
	}
	w.write(files)
	first := w.push("a resource in another version")
	w.eventually("the commit is refused", func() bool { return w.ready("Kustomization") == "False ReconciliationFailed b.yaml:1: "+told })
	if w.configMap("a")["key"] != "one" || w.store.Get(widgetsKey) != nil {
		t.Error("something of the refused commit is stored")
	}
	hook.fail(nil)
	w.applied(first)
	if w.size("b") != 4 {
		t.Errorf("stored is size %d, want 4", w.size("b"))
	}
	w.accept()
	w.branch("same", map[string]string{"a.yaml": configMap("a", "three")})
	if p := w.plan(wire.PlanRequest{Rev: "same"}); len(p.Actions) != 1 {
		t.Errorf("a commit that does not touch it changes %v", p.Actions)
	}

	// By hand, in the version that is stored: what Git has, in another, is put back.
	w.editB(func(u *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(u.Object, int64(8), "spec", "size")
	})
	w.eventually("the drift is healed", func() bool { return w.size("b") == 4 })
	w.write(map[string]string{"b.yaml": "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: b\nspec:\n  size: 6\n"})
	w.applied(w.push("in the stored version"))
	if w.size("b") != 6 {
		t.Errorf("stored is size %d, want 6", w.size("b"))
	}
}
