package api_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/scheme"
)

// definitionNumber is one of many, with a schema as those of operators have.
func definitionNumber(tb testing.TB, i int) *unstructured.Unstructured {
	tb.Helper()
	var fields strings.Builder
	for f := range 40 {
		fmt.Fprintf(&fields, "              field%d: {type: object, description: 'What the field %d of the resource is for, and what comes of it.', properties: {name: {type: string, maxLength: 63}, count: {type: integer, minimum: 0}, list: {type: array, items: {type: string}}}}\n", f, f)
	}
	text := fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things%[1]d.group%[2]d.example.com}
spec:
  group: group%[2]d.example.com
  scope: Namespaced
  names: {plural: things%[1]d, singular: thing%[1]d, kind: Thing%[1]d, listKind: Thing%[1]dList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
%[3]s
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`, i, i/10, fields.String())
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		tb.Fatal(err)
	}
	return u
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// BenchmarkDefinitions is the time until 500 definitions are in force, and the memory
// that they take then.
func BenchmarkDefinitions(b *testing.B) {
	const n = 500
	for b.Loop() {
		s := apitest.Start(b)
		client := dynamic.NewForConfigOrDie(s.Config).Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
		before, began := heap(), time.Now()
		for i := range n {
			if _, err := client.Create(b.Context(), definitionNumber(b, i), metav1.CreateOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		created := time.Since(began)
		for established := 0; established < n; {
			list, revision := s.Store.List(scheme.Definition, "")
			established = 0
			for _, obj := range list {
				if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok && apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
					established++
				}
			}
			w, err := s.Store.Watch(revision, scheme.Definition)
			if err == nil && established < n {
				_, err = w.Next(b.Context())
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(created.Seconds(), "s-to-create")
		b.ReportMetric(time.Since(began).Seconds(), "s-until-in-force")
		b.ReportMetric((heap()-before)/n, "MiB/definition")
		s.Stop()
	}
}

// BenchmarkListCustom lists 500 objects, custom and built-in, of about the same size.
func BenchmarkListCustom(b *testing.B) {
	s := apitest.Start(b)
	crds := dynamic.NewForConfigOrDie(s.Config).Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	definition := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(widgets), &definition.Object); err != nil {
		b.Fatal(err)
	}
	if _, err := crds.Create(b.Context(), definition, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	resources := map[string]schema.GroupVersionResource{
		"custom": {Group: "example.com", Version: "v1", Resource: "widgets"}, "built-in": {Version: "v1", Resource: "configmaps"},
	}
	client := dynamic.NewForConfigOrDie(s.Config)
	served := func(ctx context.Context) (bool, error) {
		_, err := client.Resource(resources["custom"]).Namespace("default").List(ctx, metav1.ListOptions{})
		return err == nil, nil
	}
	if err := wait.PollUntilContextTimeout(b.Context(), 10*time.Millisecond, 30*time.Second, true, served); err != nil {
		b.Fatal(err)
	}
	for i := range 500 {
		name := fmt.Sprint("w", i)
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": name, "labels": map[string]any{"app": "bench"}},
			"spec": map[string]any{"color": "red", "replicas": int64(3), "min": int64(1), "ports": []any{map[string]any{"name": "http", "port": int64(80)}}},
		}}
		if _, err := client.Resource(resources["custom"]).Namespace("default").Create(b.Context(), u, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "bench"}}, Data: map[string]string{"color": "red", "replicas": "3", "min": "1", "ports": "http=80"}}
		if _, err := s.Store.Commit(b.Context(), change.Tx{Changes: []change.Change{change.Create(cm, time.Now())}}); err != nil {
			b.Fatal(err)
		}
	}
	for name, resource := range resources {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := client.Resource(resource).Namespace("default").List(b.Context(), metav1.ListOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
