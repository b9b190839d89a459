package api_test

import (
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
)

// boxes have what the library changes when it reads.
const boxes = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boxes.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boxes, singular: box, kind: Box}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            default: {size: 1}
            properties:
              size: {type: integer, default: 2}
              ratio: {type: number}
              either: {x-kubernetes-int-or-string: true}
              none: {type: string, nullable: true}
              some: {type: string, default: a}
              list: {type: array, items: {type: object, properties: {name: {type: string, default: b}}}}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              inner: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
`

// What is stored is shown without its being encoded and decoded, but if that would
// change more than defaults and dropped fields do: both ways show the same.
func TestCustomForms(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	c := custom{s, t}
	c.done(c.apply("git", boxes))
	c.condition("boxes.example.com", "Established")
	client := dynamic.NewForConfigOrDie(s.Config).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "boxes"}).Namespace("default")
	for i, test := range []struct{ spec, want map[string]any }{
		{nil, map[string]any{"size": int64(1), "some": "a"}},
		{map[string]any{}, map[string]any{"size": int64(2), "some": "a"}},
		{map[string]any{"size": int64(3), "some": "c"}, map[string]any{"size": int64(3), "some": "c"}},
		{map[string]any{"other": "x", "list": []any{map[string]any{"other": "x"}, map[string]any{}}}, map[string]any{"size": int64(2), "some": "a", "list": []any{map[string]any{"name": "b"}, map[string]any{"name": "b"}}}},
		{map[string]any{"size": nil, "none": nil, "some": nil}, map[string]any{"size": int64(2), "none": nil, "some": "a"}},
		{map[string]any{"ratio": 2.0, "either": int64(5)}, map[string]any{"size": int64(2), "some": "a", "ratio": int64(2), "either": int64(5)}},
		{map[string]any{"ratio": 2.5, "either": "5%"}, map[string]any{"size": int64(2), "some": "a", "ratio": 2.5, "either": "5%"}},
		{map[string]any{"free": map[string]any{"a": []any{}, "b": nil, "c": map[string]any{}}}, map[string]any{"size": int64(2), "some": "a", "free": map[string]any{"a": []any{}, "b": nil, "c": map[string]any{}}}},
		{
			map[string]any{"inner": map[string]any{"apiVersion": "v1", "kind": "X", "metadata": map[string]any{"name": "n", "other": "x"}, "a": int64(1)}},
			map[string]any{"size": int64(2), "some": "a", "inner": map[string]any{"apiVersion": "v1", "kind": "X", "metadata": map[string]any{"name": "n"}, "a": int64(1)}},
		},
	} {
		for how, extra := range map[string]map[string]any{
			"settled": {"labels": map[string]any{"a": "b"}, "finalizers": []any{"example.com/f"}},
			"odd":     {"labels": map[string]any{"a": "b"}, "finalizers": []any{"example.com/f"}, "annotations": map[string]any{}, "other": "x"},
		} {
			name := fmt.Sprint(how, i)
			u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Box", "metadata": map[string]any{"namespace": "default", "name": name}, "other": "x"}}
			maps.Copy(u.Object["metadata"].(map[string]any), extra)
			if test.spec != nil {
				u.Object["spec"] = runtime.DeepCopyJSONValue(test.spec)
			}
			if _, err := s.Store.Commit(t.Context(), change.Tx{Changes: []change.Change{change.Create(u, time.Now())}}); err != nil {
				t.Fatal(err)
			}
			got, err := client.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			meta, _ := got.Object["metadata"].(map[string]any)
			for _, field := range []string{"uid", "resourceVersion", "creationTimestamp"} {
				delete(meta, field)
			}
			want := map[string]any{
				"apiVersion": "example.com/v1", "kind": "Box", "spec": test.want,
				"metadata": map[string]any{"namespace": "default", "name": name, "generation": int64(1), "labels": map[string]any{"a": "b"}, "finalizers": []any{"example.com/f"}},
			}
			if !reflect.DeepEqual(got.Object, want) {
				t.Errorf("%s:\n%v\nwant\n%v", name, got.Object, want)
			}
		}
	}
	// A write of what nothing is to be changed of changes nothing.
	for _, name := range []string{"settled2", "odd2"} {
		first, err := client.Patch(t.Context(), name, "application/merge-patch+json", []byte(`{"spec":{"size":4}}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := client.Patch(t.Context(), name, "application/merge-patch+json", []byte(`{"spec":{"size":4}}`), metav1.PatchOptions{})
		if err != nil || again.GetResourceVersion() != first.GetResourceVersion() || again.GetGeneration() != 2 {
			t.Errorf("%s: %v is followed by %v (%v)", name, first, again, err)
		}
	}
}
