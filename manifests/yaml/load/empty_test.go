package load_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"

	"headway.dev/manifests/yaml/load"
)

// A base that lists nothing adds nothing, whatever it lists nothing of, and a
// file without a field is refused: as kubectl builds them.
func TestKustomizationsOfEmptyLists(t *testing.T) {
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n"
	for base, accepted := range map[string]bool{
		"resources: []\n": true,
		"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\npatches: []\ncomponents: []\n": true,
		"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nimages: []\n":                                 true,
		"patches: []\nconfigMapGenerator: []\n":                                                                          true,
		"":                                                                                                               false,
		"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n":                                             false,
	} {
		tree := fstest.MapFS{
			"kustomization.yaml": {Data: []byte("resources: [a.yaml, base]\n")}, "a.yaml": {Data: []byte(configMap)},
			"base/kustomization.yaml": {Data: []byte(base)},
		}
		items, err := load.Dir(t.Context(), tree, ".", load.Options{})
		if (err == nil) != accepted || accepted && len(items) != 1 {
			t.Errorf("a base of %q: %d objects, %v; want it accepted: %v", base, len(items), err, accepted)
		}
		dir := t.TempDir()
		if err := os.CopyFS(dir, tree); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "kubectl", "kustomize", filepath.Clean(dir)).CombinedOutput(); (err == nil) != accepted {
			t.Errorf("kubectl builds a base of %q: %v, want it accepted: %v\n%s", base, err, accepted, out)
		}
	}
}
