package api_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/api/apitest"
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
		began = time.Now()
		for i := range n {
			if _, err := dynamic.NewForConfigOrDie(s.Config).Resource(schema.GroupVersionResource{Group: fmt.Sprintf("group%d.example.com", i/10), Version: "v1", Resource: fmt.Sprintf("things%d", i)}).List(b.Context(), metav1.ListOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-to-serve")
		b.ReportMetric((heap()-before)/n, "MiB/served-definition")
		<-time.After(40 * time.Second) // what is idle is dropped
		b.ReportMetric((heap()-before)/n, "MiB/idle-definition")
		s.Stop()
	}
}
