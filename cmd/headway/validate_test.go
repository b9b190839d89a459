package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/cli"
	"headway.dev/manifests/yaml/load/kustomize"
)

// validate checks what a source yields of a directory: neither what a
// .sourceignore file of the clone names nor, without one, what Flux leaves out.
func TestValidateLeavesOutWhatASourceDoes(t *testing.T) {
	const good, bad = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\nbad: 1\n"
	dir := t.TempDir()
	write := func(files map[string]string) {
		t.Helper()
		for name, data := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(what, path string, want int, words string) {
		t.Helper()
		code, out, errOut := headway(t, "validate", filepath.Join(dir, path))
		if code != want || !strings.Contains(out+errOut, words) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s%s", what, code, want, words, out, errOut)
		}
	}
	write(map[string]string{".git/HEAD": "ref: refs/heads/main\n", "apps/a.yaml": good, "apps/cloudbuild.yaml": bad, "apps/tests/b.yaml": bad})
	check("without a file", "apps", cli.ExitFailed, "apps/tests/b.yaml:4")
	write(map[string]string{".sourceignore": "cloudbuild.yaml\n", "apps/.sourceignore": "/tests\n"})
	check("with files", "apps", cli.ExitOK, "1 object, no fault")
	check("with files, from the root", ".", cli.ExitOK, "1 object, no fault")
	check("a directory that is left out", "apps/tests", cli.ExitFailed, "apps/tests/b.yaml:4")
	check("a file that is left out", "apps/tests/b.yaml", cli.ExitFailed, "b.yaml:4")
	write(map[string]string{"apps/kustomization.yaml": "resources: [a.yaml, tests/b.yaml]\n"})
	check("what a kustomization names and a source leaves out", "apps", cli.ExitFailed, "tests/b.yaml")
	if err := os.Remove(filepath.Join(dir, "apps/kustomization.yaml")); err != nil {
		t.Fatal(err)
	}
	write(map[string]string{"apps/.sourceignore": "# nothing\n", ".sourceignore": "", "apps/tests/b.yaml": strings.ReplaceAll(good, "name: a", "name: b")})
	check("Flux's own list", "apps", cli.ExitOK, "2 objects, no fault")
}

// Files that make much work of little end with a word, as they do for a sync.
func TestValidateIsBounded(t *testing.T) {
	before := kustomize.Limit(kustomize.Budget{CPU: time.Second, Memory: 512 << 20})
	t.Cleanup(func() { kustomize.Limit(before) })
	for _, name := range []string{"replgrow", "dblpatch", "diamond"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../manifests/yaml/load/testdata", name))); err != nil {
			t.Fatal(err)
		}
		if code, out, errOut := headway(t, "validate", dir); code != cli.ExitFailed || !strings.Contains(errOut, kustomize.ErrBudget.Error()) {
			t.Errorf("validate of %s: exit code %d\n%.500s%.500s", name, code, out, errOut)
		}
	}
}
