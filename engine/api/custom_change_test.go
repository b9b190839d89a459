package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
