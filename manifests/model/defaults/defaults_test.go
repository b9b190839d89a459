package defaults_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// parse decodes one manifest; it does not apply defaults.
func parse(tb testing.TB, manifest string) object.Object {
	tb.Helper()
	data, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		tb.Fatal(err)
	}
	obj, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), data)
	if err != nil {
		tb.Fatal(err)
	}
	return obj.(object.Object)
}

// fields is the object as a generic tree, without what has no value.
func fields(tb testing.TB, obj object.Object) map[string]any {
	tb.Helper()
	data, err := yaml.Marshal(obj)
	if err != nil {
		tb.Fatal(err)
	}
	return tree(tb, string(data))
}

func tree(tb testing.TB, manifest string) map[string]any {
	tb.Helper()
	m := map[string]any{}
	if err := yaml.Unmarshal([]byte(manifest), &m); err != nil {
		tb.Fatal(err)
	}
	prune(m)
	return m
}

// prune removes nulls and the statuses that always encode.
func prune(m map[string]any) {
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			prune(v)
			if k == "status" && len(v) == 0 || k == "loadBalancer" && len(v) == 0 {
				delete(m, k)
			}
		case []any:
			for _, e := range v {
				if e, ok := e.(map[string]any); ok {
					prune(e)
				}
			}
		}
	}
}

func TestApply(t *testing.T) {
	for name, tc := range allCases() {
		if tc.want == "" {
			tc.want = tc.in
		}
		t.Run(name, func(t *testing.T) {
			obj := parse(t, tc.in)
			defaults.Apply(obj)
			want := tree(t, tc.want)
			if status, ok := want["status"].(map[string]any); ok && len(status) == 0 {
				delete(want, "status")
			}
			got := fields(t, obj)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("defaults differ (-want +got):\n%s", diff)
			}
			defaults.Apply(obj)
			if diff := cmp.Diff(got, fields(t, obj)); diff != "" {
				t.Errorf("a second Apply changes (-first +second):\n%s", diff)
			}
		})
	}
}

// TestEveryKindHasCases: each served kind and view has a case in which nothing is
// given that has a default, if any has one, and a case in which all is given, and
// is kept.
func TestEveryKindHasCases(t *testing.T) {
	filled, kept := map[schema.GroupKind]bool{}, map[schema.GroupKind]bool{}
	for _, tc := range allCases() {
		obj := parse(t, tc.in)
		gk := obj.GetObjectKind().GroupVersionKind().GroupKind()
		if tc.want == "" {
			kept[gk] = true
		} else {
			filled[gk] = true
		}
	}
	for _, k := range scheme.Kinds() {
		if k.Default != nil && !filled[k.GroupKind()] {
			t.Errorf("%s has defaults, and no case in which one is set", k.GroupKind())
		}
		if !kept[k.GroupKind()] && k.Kind != "APIService" { // which has no other default
			t.Errorf("%s has no case in which everything is given, and stays", k.GroupKind())
		}
	}
	for _, v := range scheme.Views() {
		if !kept[v.GroupKind()] {
			t.Errorf("%s has no case in which everything is given, and stays", v.GroupKind())
		}
	}
}

// Every served kind, empty, survives, and what it gets does not change again.
func TestApplyEmpty(t *testing.T) {
	for _, k := range scheme.Kinds() {
		obj := k.New()
		defaults.Apply(obj)
		once := fields(t, obj)
		defaults.Apply(obj)
		if diff := cmp.Diff(once, fields(t, obj)); diff != "" {
			t.Errorf("%s: a second Apply changes:\n%s", k.Kind, diff)
		}
	}
}

func TestImagePullPolicy(t *testing.T) {
	for image, want := range map[string]string{
		"nginx":                      "Always",
		"nginx:latest":               "Always",
		"nginx:1.27":                 "IfNotPresent",
		"registry.example:5000/a/b":  "Always",
		"registry.example:5000/a:v1": "IfNotPresent",
		"nginx@sha256:0000000000000000000000000000000000000000000000000000000000000000": "IfNotPresent",
		"NOT AN IMAGE": "IfNotPresent",
	} {
		obj := parse(t, `{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: "`+image+`"}]}}`)
		defaults.Apply(obj)
		spec := fields(t, obj)["spec"].(map[string]any)
		if got := spec["containers"].([]any)[0].(map[string]any)["imagePullPolicy"]; got != want {
			t.Errorf("imagePullPolicy of %q = %v, want %s", image, got, want)
		}
	}
}
