package load_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"headway.dev/manifests/yaml/load"
)

// Faults end up in statuses, events and logs: whatever is wrong with a Secret
// or what makes one, its values are not in the error.
func TestErrorsHoldNoSecrets(t *testing.T) {
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
	for name, files := range map[string]map[string]string{
		"data is no base64":     {"s.yaml": secret + "data: {password: hunter2}\n"},
		"number":                {"s.yaml": secret + "stringData: {password: 4711471147}\n"},
		"unknown field":         {"s.yaml": secret + "stringdata: {password: hunter2}\n"},
		"duplicate key":         {"s.yaml": secret + "stringData:\n  password: hunter2\n  password: hunter2\n"},
		"broken YAML":           {"s.yaml": secret + "stringData:\n  password: hunter2: x\n"},
		"tab":                   {"s.yaml": secret + "stringData:\n\tpassword: hunter2\n"},
		"unquoted alias":        {"s.yaml": secret + "stringData:\n  password: *hunter2\n"},
		"list":                  {"s.yaml": secret + "stringData: [hunter2]\n"},
		"scalar":                {"s.yaml": secret + "stringData: hunter2\n"},
		"JSON":                  {"s.json": `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"password":"hunter2"}`},
		"literal without value": {"kustomization.yaml": "secretGenerator: [{name: s, literals: [\"a=hunter2\", hunter2]}]\n"},
		"broken patch":          {"kustomization.yaml": "resources: [s.yaml]\npatches: [{patch: \"password: hunter2: x\", target: {kind: Secret}}]\n", "s.yaml": secret},
		"patch of nothing":      {"kustomization.yaml": "patches:\n- patch: |\n    apiVersion: v1\n    kind: Secret\n    metadata: {name: other}\n    stringData: {password: hunter2}\n"},
		"JSON patch":            {"kustomization.yaml": "resources: [s.yaml]\npatches: [{patch: '[{op: test, path: /x/y, value: hunter2}]', target: {kind: Secret}}]\n", "s.yaml": secret},
		"broken file":           {"kustomization.yaml": "resources: [s.yaml]\n", "s.yaml": secret + "stringData:\n  password: hunter2: x\n"},
		"no kind":               {"kustomization.yaml": "resources: [s.yaml]\n", "s.yaml": "apiVersion: v1\nmetadata: {name: s}\nstringData: {password: hunter2}\n"},
		"no name":               {"kustomization.yaml": "resources: [s.yaml]\n", "s.yaml": "apiVersion: v1\nkind: Secret\nstringData: {password: hunter2}\n"},
		"patch without a kind":  {"kustomization.yaml": "resources: [s.yaml]\npatches:\n- patch: |\n    stringData: {password: hunter2}\n", "s.yaml": secret},
		"replacement":           {"kustomization.yaml": "resources: [s.yaml]\nreplacements: [{source: {kind: Secret, name: s, fieldPath: stringData.password}, targets: [{select: {kind: Secret}, fieldPaths: [metadata.labels.x.y]}]}]\n", "s.yaml": secret + "stringData: {password: hunter2}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for file, data := range files {
				tree[file] = &fstest.MapFile{Data: []byte(data)}
			}
			_, err := load.Dir(t.Context(), tree, ".", load.Options{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, value := range []string{"hunter2", "4711471147"} {
				if strings.Contains(err.Error(), value) {
					t.Errorf("the error holds a value: %v", err)
				}
			}
		})
	}
}
