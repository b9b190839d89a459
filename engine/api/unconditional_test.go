package api_test

import (
	"maps"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"headway.dev/engine/api/apitest"
)

// TestUnconditionalUpdate: whether an object may be replaced by who does not say which
// version of it depends on its kind, as in Kubernetes.
func TestUnconditionalUpdate(t *testing.T) {
	s := apitest.Start(t)
	client, err := dynamic.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		resource schema.GroupVersionResource
		kind     string
		spec     map[string]any
		refused  bool
	}{
		{schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, "Namespace", nil, false},
		{schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}, "PriorityClass", map[string]any{"value": int64(7)}, false},
		{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}, "ClusterRole", nil, false},
		{schema.GroupVersionResource{Group: "node.k8s.io", Version: "v1", Resource: "runtimeclasses"}, "RuntimeClass", map[string]any{"handler": "runc"}, true},
		{schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"}, "MutatingWebhookConfiguration", nil, true},
		{schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"}, "ValidatingWebhookConfiguration", nil, true},
		{schema.GroupVersionResource{Group: "storagemigration.k8s.io", Version: "v1", Resource: "storageversionmigrations"}, "StorageVersionMigration", map[string]any{"spec": map[string]any{"resource": map[string]any{"group": "", "resource": "secrets"}}}, true},
	} {
		obj := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": tc.resource.GroupVersion().String(), "kind": tc.kind, "metadata": map[string]any{"name": "one"},
		}}
		maps.Copy(obj.Object, tc.spec)
		api := client.Resource(tc.resource)
		if _, err := api.Create(t.Context(), obj.DeepCopy(), metav1.CreateOptions{}); err != nil {
			t.Errorf("%s: %v", tc.kind, err)
			continue
		}
		obj.SetLabels(map[string]string{"changed": "yes"})
		_, err := api.Update(t.Context(), obj, metav1.UpdateOptions{})
		if refused := apierrors.IsInvalid(err) && strings.Contains(err.Error(), "metadata.resourceVersion: Invalid value: 0: must be specified for an update"); refused != tc.refused || !refused && err != nil {
			t.Errorf("%s is replaced without a version: %v, want it refused: %t", tc.kind, err, tc.refused)
		}
	}
}
