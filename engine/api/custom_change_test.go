package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
)

// Requests are served by a definition as it is stored: who has changed one need not wait
// until everybody has heard of it.
func TestDefinitionsChangeAtOnce(t *testing.T) {
	s := apitest.Start(t)
	s.Config.QPS = -1
	c := custom{s, t}
	c.run(defined("changes", schemaOf(`{"type":"object","properties":{"color":{"type":"string"}}}`)+`,"subresources":{"status":{}}`), "create", "-f", "-")
	c.condition("changes.hostile.example", "Established")
	c.run(`{"apiVersion":"hostile.example/v1","kind":"Changes","metadata":{"name":"a"},"spec":{"color":"red"}}`, "create", "-f", "-")
	client := kubernetes.NewForConfigOrDie(s.Config).RESTClient()
	const definition, resource = definitions + "/changes.hostile.example", "/apis/hostile.example/v1/namespaces/default/changes/a"
	patch := func(operation string) {
		t.Helper()
		if err := client.Patch(types.JSONPatchType).AbsPath(definition).Body([]byte("[" + operation + "]")).Do(t.Context()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		patch(`{"op": "remove", "path": "/spec/versions/0/subresources"}`)
		if err := client.Get().AbsPath(resource + "/status").Do(t.Context()).Error(); !apierrors.IsNotFound(err) {
			t.Fatalf("%d: without the subresource: %v", i, err)
		}
		patch(`{"op": "add", "path": "/spec/versions/0/subresources", "value": {"status": {}}}`)
		status := 0
		if err := client.Get().AbsPath(resource + "/status").Do(t.Context()).StatusCode(&status).Error(); err != nil || status != http.StatusOK {
			t.Fatalf("%d: with it: %d, %v", i, status, err)
		}
		patch(fmt.Sprintf(`{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/field%d", "value": {"type": "string"}}`, i))
		made, err := client.Patch(types.MergePatchType).AbsPath(resource).Body(fmt.Appendf(nil, `{"spec": {"field%d": "kept"}}`, i)).DoRaw(t.Context())
		if err != nil || !strings.Contains(string(made), fmt.Sprintf(`"field%d":"kept"`, i)) {
			t.Fatalf("%d: a new field is not kept: %s, %v", i, made, err)
		}
	}
}

// A request that began while there was a definition leaves nothing when that has gone
// meanwhile: nobody would delete it, and who defines the kind anew would find it.
func TestNothingOutlivesItsDefinition(t *testing.T) {
	s := apitest.Start(t)
	c := custom{s, t}
	asked, answer := make(chan struct{}), make(chan struct{})
	waits := newHook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		asked <- struct{}{}
		<-answer
		return allow(r)
	})
	in(t, s, waits.validating(func(w *admissionregistrationv1.ValidatingWebhook) {
		w.TimeoutSeconds = new(int32(30))
		w.Rules = []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{"hostile.example"}, APIVersions: []string{"*"}, Resources: []string{"goes"}},
		}}
	}))
	client := kubernetes.NewForConfigOrDie(s.Config).RESTClient()
	create := func(name string) error {
		return client.Post().AbsPath("/apis/hostile.example/v1/namespaces/default/goes").
			Body([]byte(`{"apiVersion":"hostile.example/v1","kind":"Goes","metadata":{"name":"` + name + `"}}`)).Do(t.Context()).Error()
	}
	for name, finalizer := range map[string]string{"gone": "", "going": "hostile.example/held"} {
		c.run(defined("goes", schemaOf(`{"type":"object"}`)), "create", "-f", "-")
		c.condition("goes.hostile.example", "Established")
		if list, _ := s.Store.List(schema.GroupKind{Group: "hostile.example", Kind: "Goes"}, ""); len(list) > 0 {
			t.Errorf("%s: a new definition finds %d objects", name, len(list))
		}
		if finalizer != "" {
			c.run("", "patch", "crd", "goes.hostile.example", "--type=merge", "-p", `{"metadata":{"finalizers":["`+finalizer+`"]}}`)
		}
		created := make(chan error, 1)
		go func() { created <- create(name) }()
		select {
		case <-asked:
		case err := <-created:
			t.Fatalf("%s: the webhook was not asked: %v", name, err)
		}
		// Without kubectl, which may take longer than webhooks have.
		if err := client.Delete().AbsPath(definitions + "/goes.hostile.example").Do(t.Context()).Error(); err != nil {
			t.Error(err)
		}
		if finalizer == "" {
			reaches(t, "the definition is gone", func() error {
				if err := client.Get().AbsPath(definitions + "/goes.hostile.example").Do(t.Context()).Error(); !apierrors.IsNotFound(err) {
					return fmt.Errorf("it is there: %w", err)
				}
				return nil
			})
		}
		answer <- struct{}{}
		if err := <-created; finalizer == "" && !apierrors.IsNotFound(err) || finalizer != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "create not allowed while custom resource definition is terminating")) {
			t.Errorf("%s: the request is answered %v", name, err)
		}
		if finalizer != "" {
			c.run("", "patch", "crd", "goes.hostile.example", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		}
		reaches(t, "the definition is gone", func() error {
			if err := client.Get().AbsPath(definitions + "/goes.hostile.example").Do(t.Context()).Error(); !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %w", err)
			}
			return nil
		})
		if list, _ := s.Store.List(schema.GroupKind{Group: "hostile.example", Kind: "Goes"}, ""); len(list) > 0 {
			t.Errorf("%s: %d objects are left", name, len(list))
		}
	}
}
