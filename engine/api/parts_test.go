package api_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/api/apitest"
)

// TestStatusAndScale: what everybody may do to the status and the scale of a workload, as
// the conformance tests of Kubernetes do it: a status takes conditions of others and the
// metadata of the request, but nothing of the spec, and a scale takes the size alone.
func TestStatusAndScale(t *testing.T) {
	s := apitest.Start(t)
	client, err := dynamic.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	const template = `template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}`
	const pod = `selector: {matchLabels: {a: b}}, ` + template
	for _, tc := range []struct {
		gvr    schema.GroupVersionResource
		kind   string
		spec   string
		scales bool
		// labels of the request are not taken.
		labels bool
	}{
		{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, "Deployment", "{replicas: 1, " + pod + "}", true, false},
		{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}, "ReplicaSet", "{replicas: 1, " + pod + "}", true, true},
		{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}, "StatefulSet", "{replicas: 1, serviceName: x, " + pod + "}", true, true},
		{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}, "DaemonSet", "{" + pod + "}", false, true},
		{schema.GroupVersionResource{Version: "v1", Resource: "replicationcontrollers"}, "ReplicationController", "{replicas: 1, " + template + "}", true, true},
		{schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}, "Job", `{template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`, false, true},
		{schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, "PodDisruptionBudget", "{minAvailable: 1}", false, true},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			api := client.Resource(tc.gvr).Namespace("default")
			obj := &unstructured.Unstructured{}
			text := fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: one, labels: {patched: no-one}}, spec: %s}", tc.gvr.GroupVersion(), tc.kind, tc.spec)
			if err := yaml.Unmarshal([]byte(text), &obj.Object); err != nil {
				t.Fatal(err)
			}
			made, err := api.Create(t.Context(), obj, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			condition := func(typ string) map[string]any {
				return map[string]any{"type": typ, "status": "True", "reason": "E2E", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"}
			}
			patch, err := json.Marshal(map[string]any{
				"metadata": map[string]any{"annotations": map[string]any{"patched": "true"}, "labels": map[string]any{"patched": "by-status"}},
				"spec":     map[string]any{"minReadySeconds": 7, "parallelism": 7, "minAvailable": 7},
				"status":   map[string]any{"conditions": []any{condition("StatusPatched")}},
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := api.Patch(t.Context(), "one", types.MergePatchType, patch, metav1.PatchOptions{}, "status")
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]string{true: "by-status", false: "no-one"}[tc.labels]; got.GetAnnotations()["patched"] != "true" || got.GetLabels()["patched"] != want {
				t.Errorf("annotations %v, labels %v after a status was patched, want %q", got.GetAnnotations(), got.GetLabels(), want)
			}
			if got.GetGeneration() != made.GetGeneration() {
				t.Errorf("generation %d after the status was patched, want %d", got.GetGeneration(), made.GetGeneration())
			}
			conditions, _, _ := unstructured.NestedSlice(got.Object, "status", "conditions")
			conditions = append(conditions, condition("StatusUpdate"))
			if err := unstructured.SetNestedSlice(got.Object, conditions, "status", "conditions"); err != nil {
				t.Fatal(err)
			}
			if _, err := api.UpdateStatus(t.Context(), got, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			read, err := api.Get(t.Context(), "one", metav1.GetOptions{}, "status")
			if err != nil {
				t.Fatal(err)
			}
			var types []string
			conditions, _, _ = unstructured.NestedSlice(read.Object, "status", "conditions")
			for _, c := range conditions {
				types = append(types, c.(map[string]any)["type"].(string))
			}
			if !slices.Equal(types, []string{"StatusPatched", "StatusUpdate"}) || read.GetUID() != made.GetUID() {
				t.Errorf("conditions are %v, want those that were patched and updated", types)
			}
			if tc.scales {
				scaled(t, api)
			}
			if err := api.DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64(1)), PropagationPolicy: new(metav1.DeletePropagationBackground)}, metav1.ListOptions{LabelSelector: "patched"}); err != nil {
				t.Fatal(err)
			}
			if list, err := api.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
				t.Errorf("after a collection was deleted: %v, %d are left", err, len(list.Items))
			}
		})
	}
}

// scaled replaces and patches a scale without its version.
func scaled(t *testing.T, api dynamic.ResourceInterface) {
	t.Helper()
	scale, err := api.Get(t.Context(), "one", metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	size := func(obj *unstructured.Unstructured) int64 {
		n, _, _ := unstructured.NestedInt64(obj.Object, "spec", "replicas")
		return n
	}
	if scale.GetKind() != "Scale" || scale.GetAPIVersion() != "autoscaling/v1" || size(scale) != 1 {
		t.Errorf("the scale is %v", scale.Object)
	}
	scale.SetResourceVersion("")
	if err := unstructured.SetNestedField(scale.Object, int64(2), "spec", "replicas"); err != nil {
		t.Fatal(err)
	}
	if scale, err = api.Update(t.Context(), scale, metav1.UpdateOptions{}, "scale"); err != nil || size(scale) != 2 {
		t.Fatalf("replaced scale: %v, %v", scale, err)
	}
	patch, err := json.Marshal(autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 4}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Patch(t.Context(), "one", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	if obj, err := api.Get(t.Context(), "one", metav1.GetOptions{}); err != nil || size(obj) != 4 || obj.GetAnnotations()["patched"] != "true" {
		t.Errorf("after its scale was patched: %v, %v", obj, err)
	}
}
