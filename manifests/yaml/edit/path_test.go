package edit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	syaml "sigs.k8s.io/yaml"

	"headway.dev/manifests/yaml/edit"
)

func TestPaths(t *testing.T) {
	const doc = "spec: {replicas: 1, c: [{name: a, env: [{name: X, value: y}]}, {name: b}], p: [{port: 80}], args: [x], m: {k.k: v}}\n"
	for _, tt := range []struct {
		name string
		put  map[string]any
		drop []string
		want string
	}{
		{"scalar", map[string]any{"spec.replicas": 2}, nil, "spec: {replicas: 2, c: [{name: a, env: [{name: X, value: y}]}, {name: b}], p: [{port: 80}], args: [x], m: {k.k: v}}"},
		{"item", map[string]any{"spec.c[name=b].env[name=Z].value": "z"}, []string{"spec.c[name=a]", "spec.p", "spec.args", "spec.m"}, "spec: {replicas: 1, c: [{name: b, env: [{name: Z, value: z}]}]}"},
		{"item by two keys", map[string]any{"spec.p[port=80,protocol=TCP].name": "http"}, []string{"spec.c", "spec.args", "spec.m"}, "spec: {replicas: 1, p: [{port: 80, name: http}]}"},
		{"what is empty goes", nil, []string{"spec.c[name=a].env[name=X].name", "spec.m[k.k]", "spec.p[0].port", "spec.args", "spec.none.at"}, "spec: {replicas: 1, c: [{name: a}, {name: b}]}"},
		{"key with dots", map[string]any{"spec.m[a.b/c]": "d"}, []string{"spec.c", "spec.p", "spec.args"}, "spec: {replicas: 1, m: {k.k: v, a.b/c: d}}"},
	} {
		var got, want any
		if err := syaml.Unmarshal([]byte(doc), &got); err != nil {
			t.Fatal(err)
		}
		if err := syaml.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(err)
		}
		for path, v := range tt.put {
			var err error
			if got, err = edit.Put(got, path, v); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if have, ok := edit.Lookup(got, path); !ok || have != v {
				t.Errorf("%s: %s holds %v", tt.name, path, have)
			}
		}
		for _, path := range tt.drop {
			got, _ = edit.Drop(got, path)
		}
		if d := cmp.Diff(plainJSON(want), plainJSON(got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	if _, err := edit.Put(map[string]any{"a": "b"}, "a.b", 1); err == nil {
		t.Error("a field was put into a text")
	}
}
