package check_test

import (
	"strings"
	"testing"

	"headway.dev/manifests/yaml/check"
	"headway.dev/manifests/yaml/load"
)

// Custom resources are checked by the definitions among the manifests; of others is
// warned.
func TestCustomResources(t *testing.T) {
	const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer, maximum: 3}}}}}}
---
`
	const widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec:\n  size: 4\n  sise: 4\n"
	for text, want := range map[string]string{
		definition + widget: "a.yaml:19: Widget/w: spec.sise: unknown field\na.yaml:18: Widget/w: spec.size: Invalid value: 4: spec.size in body should be less than or equal to 3",
		widget:              "warning a.yaml:2: Widget/w: kind: its CustomResourceDefinition is not among the manifests: only its metadata is checked",
		definition + strings.Replace(widget, "/v1", "/v2", 1): `a.yaml:15: Widget/w: kind: no matches for kind "Widget" in version "example.com/v2"`,
	} {
		items, err := load.Bytes("a.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := check.Items(items); err != nil {
			got = append(got, err.Error())
		}
		for _, w := range check.Warnings(items) {
			got = append(got, "warning "+w.Error())
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), want)
		}
	}
}
